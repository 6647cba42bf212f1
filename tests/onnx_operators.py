"""One table of ONNX operators for all exports of a process: the exporter makes it anew for each graph."""

from __future__ import annotations

import functools


def share_operators() -> None:
    """Makes the table at the first export and keeps it: it is a third of the time that a small graph takes."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    if not hasattr(ONNXRegistry.from_torchlib, "cache_info"):
        made = functools.cache(ONNXRegistry.from_torchlib)
        ONNXRegistry.from_torchlib = staticmethod(made)  # type: ignore[method-assign]
