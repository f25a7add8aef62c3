"""Encoded images as uint8 arrays: grey (H, W) or colour (H, W, 3). Needs Pillow alone."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

from vision_attn.spec import InputError

MAX_SIDE = 4096
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode(
    content: bytes, *, name: str, size: tuple[int, int] | None, most_bytes: int, any_shape: bool = False
) -> np.ndarray:
    """The pixels of an encoded image; 16-bit values keep their upper 8 bits, transparency is laid on white.
    Photographs are turned as their EXIF tells, as people see them; of several frames the first is taken.

    `size` is the width and height it must have (None: it must be a square, or with `any_shape` nothing) and
    `most_bytes` what its pixels may take, both looked at before anything is decoded. Raises `InputError`.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if not any_shape:
                _require_size(image.size, name=name, size=size)
            if 3 * image.width * image.height > most_bytes:
                raise MemoryError
            image.load()
            return _pixels(_upright(image))
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{name} needs more memory than this machine has free.") from None
    except _BROKEN as error:
        kinds, why = ", ".join(FORMATS), str(error).split(" <_io.")[0]
        raise InputError(f"{name} must be a whole image ({kinds}). Decoding it failed: {why}.") from error


def _require_size(found: tuple[int, int], *, name: str, size: tuple[int, int] | None) -> None:
    width, height = found
    if size is not None and found != size:
        allowed = f"{size[0]} x {size[1]} pixels like the images before it"
    elif width != height:
        allowed = "square"
    elif width > MAX_SIDE:
        allowed = f"at most {MAX_SIDE} x {MAX_SIDE} pixels"
    else:
        return
    hint = "`vision-attn data import PATH --image-size 64` cuts and resizes."
    raise InputError(f"{name} must be {allowed}. It has {width} x {height} pixels. {hint}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:  # of what stands beside the pixels: they are whole
        return image


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in ("RGB", "L"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode.startswith("I"):
        return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        flat = Image.alpha_composite(paper, layer).convert("RGB")
        return np.asarray(flat.convert("L") if image.mode in ("LA", "La") else flat)
    return np.asarray(image.convert("RGB"))


def fitted(pixels: np.ndarray, *, size: int, in_chans: int) -> np.ndarray:
    """The middle square of an image (H, W) or (H, W, 3) at `size` pixels a side, uint8 (in_chans, size, size).

    Averaged over areas where it becomes smaller. Grey for one channel, else red, green and blue; raises `InputError`
    for other numbers of channels.
    """
    if in_chans not in (1, 3):
        raise InputError(f"in_chans must be 1 or 3 for an image file. Got a model of {in_chans} channels.")
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = Image.fromarray(pixels).crop((left, top, left + side, top + side))
    image = image.convert("L" if in_chans == 1 else "RGB")
    filter_of = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    array = np.asarray(image.resize((size, size), filter_of) if side != size else image)
    return np.array(array[None] if in_chans == 1 else np.moveaxis(array, 2, 0))
