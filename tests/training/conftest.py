"""What tests of training share."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with their weights, for tests that look at no more: no decisions are fitted and no split is judged.

    Epochs are judged as ever, and the best one is kept.
    """
    monkeypatch.setattr(import_module("labelwise.training.course"), "_finish", lambda *parts: None)
