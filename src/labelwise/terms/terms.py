"""Additional loss terms by the name of their settings; each can be combined with any method."""

from __future__ import annotations

from importlib import import_module

from torch import nn

from labelwise.registry import TERMS

TERM_CLASSES: dict[str, type[nn.Module]] = {
    name: getattr(import_module(f"labelwise.terms.{name}"), f"{name.title()}Term") for name in TERMS
}
