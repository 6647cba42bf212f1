"""Safe reading of pickled split files: only arrays, dicts, lists and plain values, and no code is run."""

from __future__ import annotations

import codecs
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.errors import LabelwiseError, first_line

_DTYPE = re.compile(r"[<>=|]?([?biufO]\d{0,2}|[US]\d+)|bool|object|u?int\d+|float\d+")
_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")


def read_pickle(file: Path) -> Any:
    """The content of a pickle made of dicts, lists, tuples, text, numbers and arrays.

    Every name that a pickle imports is looked up in a closed list of types that only hold data. A pickle that imports
    another name is refused before anything is called.

    Raises:
        LabelwiseError: another name in the file, or a damaged, truncated or missing file.
    """
    try:
        _check_numbers(file)
        with file.open("rb") as stream:
            return _PlainParts(file.stat().st_size).of(_DataUnpickler(stream, file).load())
    except LabelwiseError:
        raise
    except FileNotFoundError:
        raise LabelwiseError(f"{file}, which does not exist", "a pickled index", "check the path") from None
    except Exception as error:  # a damaged pickle makes its reader raise nearly anything
        raise LabelwiseError(
            f"{file} ({first_line(error)})", "a whole pickle", "fetch the file again"
        ) from None


def _check_numbers(file: Path) -> None:
    """Refuses memo indices beyond the file size, since the unpickler allocates memory for each of them."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        for code, argument, _ in pickletools.genops(stream):
            if "PUT" in code.name and isinstance(argument, int) and argument > size:
                raise ValueError(f"part {argument} of a pickle of {size} bytes")


class _Box(dict[str, Any]):
    """Replaces the containers of easydict and addict, which store their items as attributes too."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            for key, value in state.items():
                self.setdefault(key, value)


class _Dtype:
    """A dtype of numbers, text or objects; its byte order may come with its state."""

    def __init__(self, text: Any, *_: Any) -> None:
        text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        if not _DTYPE.fullmatch(text):
            raise ValueError(f"dtype {text[:40]!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array under construction: shape, dtype and bytes are checked before NumPy reads them."""

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, data = state[-4:]
        dtype, count = kind.dtype, int(np.prod(shape, dtype=object)) if shape else 1
        if dtype.hasobject:
            if len(data) != count:
                raise ValueError(f"{len(data)} objects for an array of {count}")
            flat = np.empty(count, object)
            for index, item in enumerate(data):
                flat[index] = item
        else:
            raw = data.encode("latin-1") if isinstance(data, str) else data
            if len(raw) != count * dtype.itemsize:
                raise ValueError(f"{len(raw)} bytes for an array of {count} x {dtype.itemsize}")
            flat = np.frombuffer(raw, dtype)
        self.array = flat.reshape(shape, order="F" if fortran else "C")


def _frombuffer(data: Any, kind: _Dtype, shape: Any, order: str = "C") -> _Array:
    """NumPy's function of this name, for arrays of protocol 5."""
    array = _Array()
    array.__setstate__((shape, kind, order == "F", bytes(data)))
    return array


def _scalar(kind: _Dtype, data: Any = b"") -> Any:
    """NumPy's function of this name, for a single number or text."""
    if kind.dtype.hasobject:
        raise ValueError("an object as a number")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(raw, kind.dtype, 1)[0].item()


def _encode(text: str, encoding: str = "latin-1") -> bytes:
    """The function of `codecs`, which pickles of protocol 2 call to store bytes."""
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError(f"encoding {encoding!r}")
    return codecs.encode(text, encoding)


def _no_bytes() -> bytes:
    """`bytes()`, which pickles of protocol 2 call for empty bytes."""
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _Array for module in _NUMPY},
    **{(module, "scalar"): _scalar for module in _NUMPY},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("easydict", "EasyDict"): _Box,
    ("addict.addict", "Dict"): _Box,
    ("collections", "OrderedDict"): _Box,
    ("_codecs", "encode"): _encode,
    **{(b, "dict"): dict for b in ("builtins", "__builtin__")},
    **{(b, "bytes"): _no_bytes for b in ("builtins", "__builtin__")},
    **{(b, "list"): list for b in ("builtins", "__builtin__")},
}


class _DataUnpickler(pickle.Unpickler):
    def __init__(self, stream: Any, file: Path) -> None:
        super().__init__(stream, encoding="latin-1")
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _ALLOWED.get((module, name))
        if stand_in is None:
            raise LabelwiseError(
                f"{self._file}, a pickle that imports {module}.{name}",
                "arrays, dicts, lists, text and numbers, and nothing that could run",
                "do not open it elsewhere either, unless you know who made it",
            )
        return stand_in


class _PlainParts:
    """Replaces the stand-ins by their content, up to a bound on the number of parts.

    A pickle can refer to a part twice in two bytes, so that twenty nested lists are a million parts; a regular file has
    no more parts than bytes.

    Args:
        size: of the file in bytes.
    """

    def __init__(self, size: int) -> None:
        self._remaining = size + 1000

    def of(self, value: Any) -> Any:
        """The value with plain parts."""
        self._remaining -= 1
        if self._remaining < 0:
            raise ValueError("more parts than bytes")
        if isinstance(value, _Array):
            value = value.array
            if value.dtype.hasobject:
                flat = np.empty(value.size, object)
                for index, item in enumerate(value.reshape(-1)):
                    flat[index] = self.of(item)
                value = flat.reshape(value.shape)
            return value
        if isinstance(value, _Dtype):
            return value.dtype
        if isinstance(value, dict):
            return {self.of(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        return value
