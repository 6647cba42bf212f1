"""Input images in every supported form, checked before anything is computed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import PIL.Image

from labelwise.data.fixed import Transform
from labelwise.data.pixels import UnreadableImage, check_array, check_tensor, pixels_of, pixels_of_array
from labelwise.errors import LabelwiseError, first_line

if TYPE_CHECKING:
    from torch import Tensor

    Image: TypeAlias = (
        str | os.PathLike[str] | bytes | bytearray | memoryview | PIL.Image.Image | np.ndarray | Tensor
    )
else:
    Image: TypeAlias = Any  # other types are refused with a message, not by the type checker alone
FORMS = (
    "paths, bytes of image files, PIL images, uint8 arrays [H, W, 3] or [H, W], or uint8 tensors [3, H, W]; "
    "one of them or several"
)


def as_images(given: Image | Iterable[Image]) -> Sequence[Image]:
    """A sequence of images, each of a supported form; a single image becomes a sequence of one.

    Raises:
        LabelwiseError: an unsupported object, or pixels of another type or shape.

    >>> as_images("a.jpg")
    ['a.jpg']
    """
    if _is_one_image(given):
        images: Sequence[Any] = [given]
    elif isinstance(given, Mapping) or hasattr(given, "read") or not isinstance(given, Iterable):
        raise _unsupported(given, "images")
    else:
        images = given if isinstance(given, list | tuple) else list(given)
    if all(isinstance(image, str) for image in images):
        return images
    for index, image in enumerate(images):
        if isinstance(image, np.ndarray):
            check_array(image)
        elif is_tensor(image):
            check_tensor(image)
        elif not _is_one_image(image):
            raise _unsupported(image, f"image {index}")
    return images


def decode_upright(image: Any, transform: Transform, notes: list[str]) -> Any:
    """The upright pixels of an image, uint8 `[3, H, W]`, as an array or a tensor.

    Args:
        image: one of `as_images`.
        transform: sets the decoded size of files, and the bits used by 16-bit pixels.
        notes: receives a sentence if 16-bit pixels decode to nearly black.

    Raises:
        UnreadableImage: missing, damaged, or pixels of an unsupported form.
    """
    bits = transform.config.bits
    if is_tensor(image):
        return transform.accept(image.detach().cpu().numpy())
    if isinstance(image, np.ndarray):
        return transform.accept(pixels_of_array(image, bits, notes))
    if isinstance(image, PIL.Image.Image):
        try:
            return transform.accept(pixels_of(image, "PIL image", bits, notes))
        except (OSError, SyntaxError, ValueError, EOFError) as error:  # PIL reads the file only now
            if isinstance(error, LabelwiseError):
                raise
            raise UnreadableImage(
                f"a PIL image that cannot be loaded ({first_line(error)})", "a whole image", "replace it"
            ) from None
    if isinstance(image, bytes | bytearray | memoryview):
        return transform.decode(bytes(image), notes=notes)
    return transform.decode(os.fspath(image), notes=notes)


def is_tensor(given: object) -> bool:
    """Whether an object is a tensor of torch, which is not loaded for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.Tensor)


def name_of_image(image: Image) -> str:
    """The path as given, or "" for pixels and bytes."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else ""


def _is_one_image(value: Any) -> bool:
    """Whether an object is one image; pixels of four dimensions are several."""
    if isinstance(value, np.ndarray):
        # An array may also hold names or image objects.
        return value.dtype.kind not in "OUS" and value.ndim < 4
    if is_tensor(value):
        return value.ndim < 4
    return isinstance(value, str | os.PathLike | bytes | bytearray | memoryview | PIL.Image.Image)


def _unsupported(value: object, name: str) -> LabelwiseError:
    """The error for an object that is no image, with a way to make it one."""
    if hasattr(value, "read"):
        todo = "give its bytes: file.read()"
    elif isinstance(value, Mapping):
        todo = "give its values"
    elif is_tensor(getattr(value, "image", None)):
        todo = "give its .image"
    else:
        todo = "convert it to one of these"
    return LabelwiseError(f"{name} given as {type(value).__name__}", FORMS, todo)
