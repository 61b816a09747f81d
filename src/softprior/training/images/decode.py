"""Encoded images into one uint8 tensor (n, H, W, C), each decoded once."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from softprior.training.images.canvas import Canvas
from softprior.training.images.source import Part

if TYPE_CHECKING:
    from PIL import Image

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1

CHUNK = 128  # images between two reports of progress

# Pillow lets go of the interpreter's lock only inside its C code. Below this size the Python
# around it decides, and threads that hand the lock to and fro take longer than one alone.
WORTH_THREADS = 128 * 128

# Mode of an image as stored: the mode it is read as. Others (16 bits a channel) would lose values.
MODES = {"1": "L", "L": "L", "LA": "L"} | dict.fromkeys(
    ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"), "RGB"
)


class Job(NamedTuple):
    """Rows of a part, ascending, and where in the tensor each belongs."""

    part: Part
    rows: list[int]
    places: list[int]


class _Image(NamedTuple):
    mode: str  # as stored
    area: int  # likewise, in pixels
    pixels: Any  # uint8 array (H, W) or (H, W, 3)


def decoded(
    jobs: list[Job],
    resolution: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, str, str]:
    """All images in one tensor, where it is, and a remark on those converted ("" for none).

    With a ``resolution`` the centre square of each is resized to it (bicubic, antialiased);
    without, all must have the size of the first. One colour image makes it a data set of colour
    (C = 3), in which grey, palette and CMYK images become RGB and transparency is dropped.

    Raises:
        ValueError: an image that cannot be decoded, or of another size, with its file and row.
        OSError: they fit neither into memory nor into a temporary file.
    """
    if importlib.util.find_spec("PIL") is None:
        raise ModuleNotFoundError("images are read with Pillow: pip install 'softprior[study]'")
    total = sum(len(job.rows) for job in jobs)
    canvas = Canvas(total)
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for job in jobs:
            contents = zip(job.rows, job.places, job.part.read(job.rows), strict=True)
            while chunk := list(islice(contents, CHUNK)):
                images = _images(job.part, chunk, resolution, pool)
                for (row, place, _), image in zip(chunk, images, strict=True):
                    canvas.put(place, image.pixels, image.mode, partial(job.part.where, row))
                done += len(chunk)
                if progress:
                    progress(done, total)
    return torch.from_numpy(canvas.pixels), canvas.place, canvas.remark()


def _images(
    part: Part, chunk: list[tuple[int, int, Any]], resolution: int | None, pool: ThreadPoolExecutor
) -> Iterator[_Image]:
    """Each image, in order."""

    def one(item: tuple[int, int, Any]) -> _Image:
        row, _, content = item
        try:
            return _image(content, resolution)
        except Exception as error:  # Pillow raises whatever its many parsers stumble over
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{part.where(row)}: the image cannot be decoded ({said}); replace it or leave "
                "it out"
            ) from error

    first = one(chunk[0])
    yield first
    yield from (pool.map if first.area >= WORTH_THREADS else map)(one, chunk[1:])


def _image(content: Any, resolution: int | None) -> _Image:
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(content, np.ndarray):
        opened = Image.fromarray(content)
    else:
        try:
            opened = Image.open(content if isinstance(content, Path) else io.BytesIO(content))
        except UnidentifiedImageError:  # its own message shows an address in memory
            raise ValueError("not a kind of image that Pillow knows") from None
    with opened as image:
        mode, area = image.mode, image.width * image.height
        image = grey_or_rgb(image)
        if resolution is not None:
            image = ImageOps.fit(image, (resolution, resolution), Image.Resampling.BICUBIC)
        shape = (image.height, image.width, *((3,) if image.mode == "RGB" else ()))
        return _Image(mode, area, np.frombuffer(image.tobytes(), np.uint8).reshape(shape))


def grey_or_rgb(image: Image.Image) -> Image.Image:
    """An opened image in mode L or RGB, whichever keeps its colours."""
    mode = image.mode
    if mode not in MODES:
        raise ValueError(f"its mode is {mode}, wanted 8 bits a channel")
    if mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB would warn
    return image if image.mode == MODES[mode] else image.convert(MODES[mode])
