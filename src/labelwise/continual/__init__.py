"""Streams of tasks, replay memories, regularisers, and the strategies made of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwise.continual.memories import make_memory
    from labelwise.continual.run import learn_stream, open_stream
    from labelwise.continual.streams import Stream, Task, make_stream

_HOME = {
    "make_memory": "memories",
    "learn_stream": "run",
    "open_stream": "run",
    "Stream": "streams",
    "Task": "streams",
    "make_stream": "streams",
}
__all__ = ["Stream", "Task", "learn_stream", "make_memory", "make_stream", "open_stream"]


def __getattr__(name: str) -> Any:
    """Import a name on first use, since every command imports the settings of this subpackage."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
