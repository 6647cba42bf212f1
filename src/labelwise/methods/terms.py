"""Further terms of the loss, by the name of their settings; each can be laid over any method."""

from __future__ import annotations

from torch import nn

TERMS: dict[str, type[nn.Module]] = {}
