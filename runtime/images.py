"""Images: what a prompt may hold, and pixels as the model's own processor makes them, with Pillow and numpy.

The arithmetic is transformers' Pillow backend (``image_processing_backends.PilBackend``, ``image_transforms``), step by
step in the same order and width, so that the pixels are the same numbers. An image object is taken as it is, as there;
a file is turned as its EXIF tag says and converted to RGB first, as ``transformers.image_utils.load_image`` does.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from .errors import InputError, MissingExtraError
from .manifest import ImagePolicy, Resample

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray

_RESAMPLE: tuple[str, ...] = get_args(Resample)  # in Pillow's numbering
# Pillow's own bound. It holds after resizing too: a line of 1 × 100 000 pixels grows to 22 million on its long edge.
_MAX_PIXELS = 89_478_485
_CHANNELS = (1, 3, 4)
# What bytes from a stranger may be: Pillow opens EPS too, by starting a program.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image decoded, resized and cropped: uint8 ``[3, height, width]``. Nothing can fail from here on."""

    pixels: Array


def image_of(prompt: Mapping[str, Any]) -> Any | None:
    """Take the image out of a vLLM prompt dictionary with ``multi_modal_data``; ``None`` where that is empty.

    Raises:
        InputError: another kind of data, more than one image, or something that is no image.
    """
    data = prompt["multi_modal_data"] or {}
    if not isinstance(data, Mapping) or set(data) - {"image"}:
        shown = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise InputError(f"multi_modal_data should be {{'image': ...}}, got {shown}")
    if prompt.get("mm_processor_kwargs"):
        raise InputError("mm_processor_kwargs are not supported: a bundle's preprocessing is the model's own")
    image = data.get("image")
    if isinstance(image, list | tuple):
        if len(image) != 1:
            raise InputError(f"At most 1 image(s) may be provided in one prompt, got {len(image)}.")
        image = image[0]
    if image is not None and not _is_image(image):
        raise InputError(f"image should be a PIL image, a uint8 numpy array or a path, got {type(image).__name__}")
    return image


def open_png(data: bytes) -> Image:
    """Open the bytes of an image file.

    Raises:
        InputError: they are none.
        MissingExtraError: Pillow is not installed.
    """
    module = _pillow()
    try:
        return module.open(io.BytesIO(data))  # type: ignore[no-any-return]
    except Exception as error:
        raise InputError(f"an image cannot be read: {error}") from error


def _is_image(value: Any) -> bool:
    # By its methods: Pillow is imported only where an image is opened.
    return isinstance(value, np.ndarray | str | os.PathLike) or hasattr(value, "getbands")


def holds_image(*sides: Any) -> bool:
    """Whether one side of ``score`` has an element with ``multi_modal_data``."""
    items = [item for side in sides for item in (side if isinstance(side, list | tuple) else [side])]
    return any(isinstance(item, Mapping) and "multi_modal_data" in item for item in items)


def pixel_values(images: Sequence[Any], policy: ImagePolicy) -> Array:
    """Preprocess images for the graph.

    Args:
        images: PIL images, uint8 arrays (``[height, width]``, ``[height, width, channels]`` or channels
            first), paths, or what ``prepare`` made.
        policy: the bundle's.

    Returns:
        float32 ``[batch_size, 3, height, width]``.

    Raises:
        InputError: a file that cannot be read, or an image without pixels, with too many, or of a
            kind the processor does not take.
        MissingExtraError: Pillow is not installed.
    """
    return np.stack([_pixels(image, policy) for image in images])


def prepare(data: bytes, policy: ImagePolicy) -> Prepared:
    """Decode, resize and crop the bytes of an image file: the part of ``pixel_values`` that takes long and can fail.

    Raises:
        InputError: as ``pixel_values``; or a format other than PNG, JPEG, WebP, GIF, BMP and TIFF.
        MissingExtraError: Pillow is not installed.
    """
    return Prepared(np.ascontiguousarray(_cropped(data, policy)))  # a copy: a view would keep the whole image


def _pixels(source: Any, policy: ImagePolicy) -> Array:
    pixels = source.pixels if isinstance(source, Prepared) else _cropped(source, policy)
    if policy.rescale_factor is not None:
        pixels = (pixels.astype(np.float64) * policy.rescale_factor).astype(np.float32)
    pixels = pixels.astype(np.float32)
    if policy.mean:
        mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (policy.mean, policy.std))
        pixels = (pixels - mean) / std
    return pixels


def _cropped(source: Any, policy: ImagePolicy) -> Array:
    image = _resized(_rgb(source, policy), policy)
    pixels: Array = np.moveaxis(np.asarray(image), -1, 0)
    if policy.crop_height:
        pixels = _centre(pixels, policy.crop_height, policy.crop_width)
    if pixels.shape != (3, policy.height, policy.width):
        raise InputError(
            f"this model's processor does not resize; expected an image of {policy.width} × {policy.height} pixels, "
            f"got {pixels.shape[2]} × {pixels.shape[1]}"
        )
    return pixels


def _rgb(source: Any, policy: ImagePolicy) -> Image:
    module = _pillow()
    is_path = isinstance(source, str | os.PathLike)
    shown = os.fspath(source) if is_path else "the data" if isinstance(source, bytes) else "an image"
    if isinstance(shown, str) and shown.startswith(("http://", "https://")):
        raise InputError(f"{shown}: images are not downloaded; pass a file or a PIL image")
    try:
        if isinstance(source, np.ndarray):
            return _from_array(source, policy)
        image = module.open(source) if is_path else _opened(source) if isinstance(source, bytes) else source
        _check_size(image.size, str(shown))
        image.load()
        if image is not source:
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image).convert("RGB")
        return _converted(image, policy)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged files raise OSError, SyntaxError, ValueError, struct.error and more
        raise InputError(f"{shown} cannot be read as an image: {str(error) or type(error).__name__}") from error


def _opened(data: bytes) -> Image:
    module = _pillow()
    try:
        return module.open(io.BytesIO(data), formats=_FORMATS)  # type: ignore[no-any-return]
    except module.UnidentifiedImageError as error:  # its sentence has an address in memory
        raise InputError(f"an image cannot be read: its {len(data)} bytes are none of {', '.join(_FORMATS)}") from error


def _converted(image: Image, policy: ImagePolicy) -> Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if not policy.convert_rgb:
        raise InputError(f"this model's processor takes RGB images only, got mode {image.mode}; convert it first")
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    module, layered = _pillow(), image.convert("RGBA")
    white = module.new("RGBA", layered.size, (255, 255, 255, 255))
    return module.alpha_composite(white, layered).convert("RGB")  # type: ignore[no-any-return]


def _from_array(array: Array, policy: ImagePolicy) -> Image:
    ends = [array.ndim == 3 and array.shape[axis] in _CHANNELS for axis in (0, -1)]
    if all(ends):  # transformers warns and takes the first; a wrong guess would be a wrong vector
        raise InputError(f"shape {array.shape} may have its channels first or last; pass a PIL image instead")
    if ends[0]:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in _CHANNELS:
        raise InputError(f"an image array has 1, 3 or 4 channels, first or last; got shape {array.shape}")
    _check_size((array.shape[1], array.shape[0]), "an image array")
    is_bytes = array.dtype.kind in "uib" and int(array.min()) >= 0 and int(array.max()) <= 255
    if not is_bytes:
        raise InputError(f"an image array holds integers from 0 to 255, got {array.dtype}")
    array = array.astype(np.uint8)
    if array.shape[-1] != 3 and not policy.convert_rgb:
        raise InputError(f"this model's processor takes RGB images only, got {array.shape[-1]} channel(s)")
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    elif array.shape[-1] == 4:  # blended in float64 and rounded, where Pillow blends bytes
        alpha = array[..., 3:] / 255
        array = np.round(alpha * array[..., :3] + (1 - alpha) * 255).astype(np.uint8)
    return _pillow().fromarray(np.ascontiguousarray(array))  # type: ignore[no-any-return]


def _resized(image: Image, policy: ImagePolicy) -> Image:
    if policy.resize == "none":
        return image
    width, height = policy.resize_width, policy.resize_height
    if policy.resize == "shortest_edge":
        short, long = sorted(image.size)
        grown = int(height * long / short)
        width, height = (height, grown) if image.width <= image.height else (grown, height)
    _check_size((width, height), f"an image of {image.width} × {image.height} pixels, resized,")
    return image.resize((width, height), resample=_RESAMPLE.index(policy.resample))


def _centre(pixels: Array, height: int, width: int) -> Array:
    """Cut ``[channels, height, width]`` out of the centre; what lies outside the image is zero."""
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    if top < 0 or left < 0:
        tall, wide = max(height, pixels.shape[1]), max(width, pixels.shape[2])
        above, before = ceil((tall - pixels.shape[1]) / 2), ceil((wide - pixels.shape[2]) / 2)
        canvas = np.zeros((pixels.shape[0], tall, wide), pixels.dtype)
        canvas[:, above : above + pixels.shape[1], before : before + pixels.shape[2]] = pixels
        pixels, top, left = canvas, top + above, left + before
    return pixels[:, max(0, top) : top + height, max(0, left) : left + width]


def _check_size(size: tuple[int, int], what: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"{what} has no pixels ({width} × {height})")
    if width * height > _MAX_PIXELS:
        raise InputError(f"{what} has {width} × {height} pixels, more than {_MAX_PIXELS}; scale it down first")


def require_pillow(why: str) -> Any:
    """Return Pillow's ``Image`` module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingExtraError("Pillow", "image", why) from error
    return PIL.Image


def _pillow() -> Any:
    return require_pillow("the prompt holds an image")
