"""The built-in scenes of handwritten digits."""

from __future__ import annotations

from labelwise.data.dataset import Dataset
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "digits:[?train=N&val=N&test=N&size=PX&seed=N]"
MEANING = "built-in scenes of real handwritten digits, with boxes; needs no file"
OPTIONS = frozenset({"train", "val", "test", "size", "seed"})


def read(source: Source) -> Dataset:
    """Creates the scenes; raises `LabelwiseError` for an option that is not a whole number."""
    if source.path:
        raise LabelwiseError(f"{str(source)!r} with a path", "digits: alone", "remove what follows the colon")
    numbers = {}
    for key, text in source.options.items():
        if not (text.isascii() and text.isdigit()):
            raise LabelwiseError(f"{key}={text!r} in {str(source)!r}", "a whole number", "correct the option")
        numbers[key] = int(text)
    from labelwise.data import digits

    return digits.make_scenes(**numbers)
