"""The tensor that images are written into, as big as the first image says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from softprior import memory
from softprior.training.images import mapped


class Decoded(NamedTuple):
    """One image, and what it was before."""

    mode: str  # as stored
    area: int  # likewise, in pixels
    pixels: Any  # uint8 array (H, W) or (H, W, 3)
    remarks: tuple[str, ...] = ()  # what else was done to it


class Canvas:
    """One array (n, H, W, C) for n images, C = 1 until the first image of colour.

    It is in memory, or, where it would take more than half of what is free, in a file.
    """

    def __init__(self, images: int) -> None:
        self.images = images
        self.pixels: Any = None
        self.place = ""  # where the pixels are, for the user
        self.first = ""
        self.modes: dict[str, tuple[int, str]] = {}  # how many, and where the first
        self.remarks: dict[str, tuple[int, str]] = {}  # likewise

    def put(self, place: int, image: Decoded, where: Callable[[], str]) -> None:
        """Write one image; ``where`` names its file and row if there is something to say."""
        pixels = image.pixels
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if self.pixels is None:
            self.first = where()
            self.pixels = self._blank(*pixels.shape)
        if pixels.shape[:2] != self.pixels.shape[1:3]:
            (h, w), (height, width) = pixels.shape[:2], self.pixels.shape[1:3]
            raise ValueError(
                f"images differ in size: {height} × {width} ({self.first}) and {h} × {w} "
                f"({where()}), height × width; pass --resolution, such as --resolution "
                f"{min(h, w, height, width)}"
            )
        if pixels.shape[2] > self.pixels.shape[3]:
            grey = self.pixels
            self.pixels = self._blank(*pixels.shape)
            self.pixels[:] = grey
        self.pixels[place] = pixels
        for counts, keys in ((self.modes, (image.mode,)), (self.remarks, image.remarks)):
            for key in keys:
                count, first = counts.get(key) or (0, where())
                counts[key] = (count + 1, first)

    def remark(self) -> str:
        """How many were converted, by the mode they were stored in, and what else was done."""
        own, name = ("RGB", "RGB") if self.pixels.shape[3] == 3 else ("L", "grey")
        said = [
            f"{count:,} of mode {mode} (the first: {first})"
            for mode, (count, first) in self.modes.items()
            if mode != own
        ]
        lines = [f"made {name}: {', '.join(said)}"] if said else []
        lines += [
            f"{remark}: {count:,} (the first: {first})"
            for remark, (count, first) in self.remarks.items()
        ]
        return "; ".join(lines)

    def _blank(self, height: int, width: int, channels: int) -> Any:
        import numpy as np

        shape = (self.images, height, width, channels)
        size = math.prod(shape)
        shown = f"{size / memory.MIB:,.1f} MiB"
        if memory.fits(size):
            self.place = f"{shown} in memory"
            # Zeros cost nothing until they are written, and an unwritten image is never noise.
            return np.zeros(shape, np.uint8)
        pixels, folder = mapped.zeros(shape)
        self.place = f"mapped from a temporary file of {shown} in {folder}"
        return pixels
