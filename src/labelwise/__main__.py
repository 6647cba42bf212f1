"""`python -m labelwise`, which launchers of several processes need."""

from labelwise.cli import main

main()
