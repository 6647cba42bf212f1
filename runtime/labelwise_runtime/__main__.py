"""python -m labelwise_runtime"""

from labelwise_runtime.program import main

main()
