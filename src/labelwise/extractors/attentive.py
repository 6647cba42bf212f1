"""The base of extractors whose labels attend to places."""

from __future__ import annotations

from torch import nn


class Attentive(nn.Module):
    """Base of extractors whose labels attend to places.

    A subclass passes the tokens `[B, P, D]` that labels attend to through `attended`, after all that relates places to
    each other. It returns them unchanged; a control of an experiment replaces it, see `composition/controls.py`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attended: nn.Module = nn.Identity()
