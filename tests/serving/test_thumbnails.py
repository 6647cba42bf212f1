"""Thumbnails are made once, in the order in which they are asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from labelwise.serving import thumbnails
from labelwise.serving.kept_pictures import KeptPictures
from labelwise.serving.thumbnails import Thumbnails


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Thumbnails:
    """One thread, so that the order is known."""
    monkeypatch.setattr(thumbnails, "usable_cores", lambda: 1)
    return Thumbnails(KeptPictures(tmp_path / "pictures.sqlite", 1 << 20))


def test_what_is_on_its_way_is_not_made_again(made: Thumbnails) -> None:
    order: list[str] = []
    begun, free = threading.Event(), threading.Event()

    def picture(key: str) -> bytes:
        order.append(key)
        if key == "a":
            begun.set()
            assert free.wait(10)
        return key.encode()

    made.begin((key, lambda key=key: picture(key)) for key in "abc")
    assert begun.wait(10)
    threading.Timer(0.1, free.set).start()
    assert made.get("b", lambda: picture("b")) == b"b"
    assert made.get("c", lambda: picture("c")) == b"c"
    assert made.get("a", lambda: picture("a")) == b"a"  # kept by now
    assert order == ["a", "b", "c"]


def test_one_that_cannot_be_made_fails_when_it_is_asked_for_and_is_tried_again(made: Thumbnails) -> None:
    def failing() -> bytes:
        raise OSError("gone")

    made.begin([("a", failing)])
    with pytest.raises(OSError, match="gone"):
        made.get("a", failing)
    assert made.get("a", lambda: b"back") == b"back"
