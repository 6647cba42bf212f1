"""Training: the loop, its schedule, and the resources that it uses."""

from labelwise.training.fit import fit

__all__ = ["fit"]
