"""A network that dies once, in a module that Ray's workers can import."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from labelwise.inference.on_ray import Network

FLAG = "LABELWISE_TEST_DIED"


class Mortal(Network):
    """Dies at the thirteenth image, but only once."""

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        died = Path(os.environ[FLAG])
        if 12 in block["row"] and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(block)
