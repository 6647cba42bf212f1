"""The loop, and what it keeps."""

from labelwise.training.config import Config
from labelwise.training.fit import fit
from labelwise.training.run import Run

__all__ = ["Config", "Run", "fit"]
