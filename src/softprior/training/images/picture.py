"""One image as it is stored, and as it is meant to be seen: upright, grey or RGB."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softprior import memory

if TYPE_CHECKING:
    from PIL import Image

# What Pillow may decode. Others of its decoders start programs (EPS) or are rarely looked at.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

# Mode of an image as stored: the mode it is read as. Others (16 bits a channel) would lose values.
MODES = {"1": "L", "L": "L", "LA": "L"} | dict.fromkeys(
    ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"), "RGB"
)

ORIENTATION = 0x0112  # the tag of EXIF
_HAVE_EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}


def opened(content: Path | bytes) -> Image.Image:
    """A stored image; its pixels are not decoded yet.

    Raises:
        ValueError: it is of no known format, or larger than is safe.
    """
    from PIL import Image, UnidentifiedImageError

    file = content if isinstance(content, Path) else io.BytesIO(content)
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:  # its own message shows an address in memory
        if isinstance(content, Path) and os.path.getsize(content) == 0:
            raise ValueError("the file is empty") from None
        raise ValueError(
            f"not a kind of image that Pillow knows among {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"it has more than {most:,} pixels; make it smaller") from None
    size = 4 * image.width * image.height
    if size > memory.SMALL:
        try:
            shape = f"its {image.width:,} × {image.height:,} pixels"
            memory.check(shape, size, "make it smaller")
        except ValueError:
            image.close()
            raise
    return image


def stored_mode(image: Image.Image) -> str:
    """The mode of an image before it is decoded; of 16 bits a channel Pillow keeps 8."""
    for tile in getattr(image, "tile", ()):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        for argument in arguments:
            if isinstance(argument, str) and ";16" in argument:
                return argument
    return image.mode


def has_frames(image: Image.Image) -> bool:
    """Whether it is animated, or of several pages; a preview beside a photograph is neither."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def orientation(image: Image.Image) -> int:
    """1 for upright, 2 to 8 as EXIF counts what a camera turned or mirrored, once decoded.

    Damaged EXIF says nothing. Pillow turns TIFF by itself.
    """
    if image.format == "TIFF" or not _HAVE_EXIF & image.info.keys():
        return 1
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # whatever its parser stumbles over
        return 1
    return found if found in range(1, 9) else 1


def upright(image: Image.Image) -> Image.Image:
    """The image decoded, and turned as its EXIF says."""
    image.load()
    found = orientation(image)
    if found == 1:
        return image
    from PIL import Image

    turn = Image.Transpose
    turns = (
        *(turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE),
        *(turn.ROTATE_270, turn.TRANSVERSE, turn.ROTATE_90),
    )
    return image.transpose(turns[found - 2])


def is_turned(content: bytes) -> bool:
    """Whether an encoded image is not upright as it is stored; nothing is decoded if it may be."""
    if not _has_exif(content):
        return False
    try:
        with opened(content) as image:
            if image.format == "PNG":  # EXIF may follow the pixels
                image.load()
            return orientation(image) != 1
    except Exception:  # an image that cannot be decoded: loading it will say so
        return False


def _has_exif(content: bytes) -> bool:
    """Whether there may be EXIF, or XMP, by the heads of its blocks alone, as each is asked."""
    if content.startswith(b"\xff\xd8"):  # JPEG: both are in the first application block, FFE1
        place = 2
        while content[place : place + 1] == b"\xff":
            kind = content[place + 1 : place + 2]
            if kind in (b"\xe1", b"\xff"):  # or filled up, which is rare
                return True
            if kind in (b"\xda", b"\xd9", b""):  # the pixels, or the end
                return False
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    elif content.startswith(b"\x89PNG"):
        place = 8
        while kind := content[place + 4 : place + 8]:
            keyword = content[place + 8 : place + 29]
            if kind == b"eXIf" or keyword.startswith(
                (b"XML:com.adobe.xmp", b"Raw profile type exif")
            ):
                return True
            place += 12 + int.from_bytes(content[place : place + 4], "big")
    elif content.startswith(b"RIFF"):
        place = 12
        while kind := content[place : place + 4]:
            if kind in (b"EXIF", b"XMP "):
                return True
            size = int.from_bytes(content[place + 4 : place + 8], "little")
            place += 8 + size + size % 2
    return False


def grey_or_rgb(image: Image.Image) -> Image.Image:
    """An opened image in mode L or RGB, whichever keeps its colours."""
    mode = image.mode
    if mode not in MODES:
        raise ValueError(f"its mode is {mode}, wanted 8 bits a channel")
    if mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB would warn
    return image if image.mode == MODES[mode] else image.convert(MODES[mode])


def array(image: Image.Image) -> Any:
    """Its pixels: uint8 (H, W) or (H, W, 3)."""
    import numpy as np

    shape = (image.height, image.width, *((3,) if image.mode == "RGB" else ()))
    return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)
