"""`python -m labelwise`, for launchers of several processes."""

from labelwise.cli import main

main()
