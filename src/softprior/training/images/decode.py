"""Encoded images into one uint8 tensor (n, H, W, C), each decoded once."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softprior.training.images import picture
from softprior.training.images.canvas import Canvas, Decoded
from softprior.training.images.source import Part

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1

CHUNK = 128  # images between two reports of progress

# Pillow lets go of the interpreter's lock only inside its C code. Below this size the Python
# around it decides, and threads that hand the lock to and fro take longer than one alone.
WORTH_THREADS = 128 * 128

# What a remark counts.
FRAMES = "first frames alone of"
TURNED = "turned as their EXIF says"


class Job(NamedTuple):
    """Rows of a part, ascending, and where in the tensor each belongs."""

    part: Part
    rows: list[int]
    places: list[int]


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
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        # What matters of its remarks is said here, with the file.
        warnings.filterwarnings("ignore", module="PIL")
        for job in jobs:
            contents = zip(job.rows, job.places, job.part.read(job.rows), strict=True)
            while chunk := list(islice(contents, CHUNK)):
                images = _images(job.part, chunk, resolution, pool)
                for (row, place, _), image in zip(chunk, images, strict=True):
                    canvas.put(place, image, partial(job.part.where, row))
                done += len(chunk)
                if progress:
                    progress(done, total)
    return torch.from_numpy(canvas.pixels), canvas.place, canvas.remark()


def _images(
    part: Part, chunk: list[tuple[int, int, Any]], resolution: int | None, pool: ThreadPoolExecutor
) -> Iterator[Decoded]:
    """Each image, in order."""

    def one(item: tuple[int, int, Any]) -> Decoded:
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


def _image(content: Any, resolution: int | None) -> Decoded:
    import numpy as np
    from PIL import Image, ImageOps

    own = isinstance(content, np.ndarray)
    if own and resolution is None and content.dtype == np.uint8 and content.size:
        if content.ndim == 2:  # pixels as they are wanted: nothing to decode
            return Decoded("L", content.size, content)
        if content.shape[2:] == (3,):
            return Decoded("RGB", content.size // 3, content)
    with Image.fromarray(content) if own else picture.opened(content) as image:
        mode, area = picture.stored_mode(image), image.width * image.height
        remarks = [FRAMES] if picture.has_frames(image) else []
        seen = picture.upright(image)
        if seen is not image:
            remarks.append(TURNED)
        seen = picture.grey_or_rgb(seen)
        if resolution is not None:
            seen = ImageOps.fit(seen, (resolution, resolution), Image.Resampling.BICUBIC)
        return Decoded(mode, area, picture.array(seen), tuple(remarks))
