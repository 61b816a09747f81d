"""Views of images, a whole batch at once: a pure function of (generator, sample).

An epoch draws the parameters of every sample of the data set at its start, and a batch looks up
those of its own. So a sample's view does not depend on the batch it is in, on how many processes
share the epoch, or on the method that is trained; and it is made of integers from the box to the
last pixel, so that every device makes the same one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks, memory

KINDS = ("none", "flip", "crop", "resized")

PADDING = 4  # zeros around an image before it is cropped
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a resized crop: share of the area, width : height
ATTEMPTS = 10  # to draw a box that fits, as torchvision


class Boxes(NamedTuple):
    """Which part of its image every sample shows, in pixels, and whether in a mirror: (n,) each."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    mirrored: Tensor


class Views:
    """A data set's images on their device, and what an epoch shows of them.

    For "crop" a padded copy of all images is made where it takes at most half of the memory that
    is free there; where it does not, each batch is padded: the same views, more slowly.

    Args:
        pixels: (n, H, W, C), uint8.
        kind: "none", the image; "flip", mirrored left to right in half of the cases; "crop",
            padded by four pixels of zeros on every side, cropped at random to its size, and
            flip; "resized", a box of random area (8 to 100 %) and ratio (3:4 to 4:3), resized,
            and flip.
        size: (height, width) of the views; the images' own if None.
    """

    def __init__(
        self, pixels: Tensor, kind: str = "none", size: tuple[int, int] | None = None
    ) -> None:
        checks.choice("augmentation", kind, KINDS)
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise ValueError(
                f"pixels must be uint8 (n, H, W, C), got {pixels.dtype} {tuple(pixels.shape)}"
            )
        self.kind = kind
        self.shape = (pixels.shape[1], pixels.shape[2])
        self.size = size or self.shape
        self.padding = PADDING if kind == "crop" else 0  # that the pixels do not have yet
        self.pixels = pixels.contiguous()
        if self.padding and memory.fits(_padded_size(pixels), pixels.device):
            self.pixels, self.padding = _padded(pixels, PADDING), 0
        self.weights: tuple[Tensor, Tensor] | None = None
        if kind == "resized" or self.size != self.shape:
            rows, columns = (_resizing(a, b) for a, b in zip(self.shape, self.size, strict=True))
            self.weights = rows.to(pixels.device), columns.to(pixels.device)

    def epoch(self, g: torch.Generator) -> EpochViews:
        """The views of one epoch, drawn from ``g`` for all n samples ("none" draws nothing)."""
        boxes = draw(self.kind, len(self.pixels), self.shape, g)
        return EpochViews(self, torch.stack(boxes, 1).to(self.pixels.device))


class EpochViews:
    """One epoch's views: called with sample indices (B,), on the device of the pixels."""

    def __init__(self, views: Views, boxes: Tensor) -> None:
        self.views, self.boxes = views, boxes
        height, width = views.shape
        self.i = torch.arange(height, device=boxes.device)
        self.j = torch.arange(width, device=boxes.device)

    def __call__(self, index: Tensor) -> Tensor:
        """The batch, uint8 (B, C, H, W) in channels_last memory."""
        views = self.views
        if views.kind == "none" and views.weights is None:
            return views.pixels.index_select(0, index).permute(0, 3, 1, 2)
        box = Boxes(*self.boxes.index_select(0, index).unbind(1))
        pixels = views.pixels
        if views.padding:
            pixels = _padded(pixels.index_select(0, index), views.padding)
            index = torch.arange(len(index), device=index.device)
        batch = self._window(pixels, index, box).permute(0, 3, 1, 2)
        return batch if views.weights is None else _resize(batch, box, *views.weights)

    def _window(self, pixels: Tensor, index: Tensor, box: Boxes) -> Tensor:
        """(B, H, W, C) from the box's first corner on; what lies beyond the box has no meaning.

        One lookup of whole pixels in all images as one long list: no other form is as fast,
        and its output is in channels_last order by itself.
        """
        _, height, width, channels = pixels.shape
        start = box.left + box.mirrored * (box.width - 1)
        step = 1 - 2 * box.mirrored
        rows = (box.top[:, None] + self.i).clamp_(max=height - 1)
        columns = (start[:, None] + step[:, None] * self.j).clamp_(0, width - 1)
        lines = (index[:, None] * height + rows) * width
        at = (lines[:, :, None] + columns[:, None, :]).view(-1)
        flat = pixels.view(-1, channels)
        return flat.index_select(0, at).view(len(index), *self.views.shape, channels)


def normalise(
    batch: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """``(batch - mean) / std`` per channel, with both on the pixels' scale of 0 to 255.

    In lines of pixels, as a loop over the three channels of a pixel is slow; in place, as a second
    buffer of this size costs more than the arithmetic (at first touch, page by page).
    """
    B, C, H, W = batch.shape
    lines = batch.permute(0, 2, 3, 1).reshape(B, H, W * C).to(mean.dtype, copy=True)
    lines.sub_(mean.repeat(W)).div_(std.repeat(W))
    return lines.to(dtype).view(B, H, W, C).permute(0, 3, 1, 2)


def draw(kind: str, n: int, size: tuple[int, int], g: torch.Generator) -> Boxes:
    """The boxes of n images of one size, on the CPU; flips come first and so agree among kinds."""
    height, width = (torch.full((n,), side) for side in size)
    zero = torch.zeros(n, dtype=torch.int64)
    if kind == "none":
        return Boxes(zero, zero, height, width, zero)
    mirrored = torch.randint(2, (n,), generator=g)
    if kind == "flip":
        return Boxes(zero, zero, height, width, mirrored)
    if kind == "crop":
        top, left = torch.randint(2 * PADDING + 1, (2, n), generator=g)
        return Boxes(top, left, height, width, mirrored)
    height, width = _random_boxes(n, size, g)
    place = torch.rand(2, n, generator=g, dtype=torch.float64)
    top = (place[0] * (size[0] - height + 1)).long()
    left = (place[1] * (size[1] - width + 1)).long()
    return Boxes(top, left, height, width, mirrored)


def _random_boxes(n: int, size: tuple[int, int], g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Heights and widths: area uniform, ratio log-uniform, redrawn until they fit the image."""
    low, high = (math.log(r) for r in RATIO)
    uniform = torch.rand(2, n, ATTEMPTS, generator=g, dtype=torch.float64)
    area = size[0] * size[1] * (SCALE[0] + (SCALE[1] - SCALE[0]) * uniform[0])
    ratio = torch.exp(low + (high - low) * uniform[1])
    heights, widths = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
    fits = (heights >= 1) & (heights <= size[0]) & (widths >= 1) & (widths <= size[1])
    first = fits.byte().argmax(1, keepdim=True)
    # Where no attempt fits, as much of the image as the ratio allows: all of a square one.
    most = min(size[0], round(size[1] / RATIO[0])), min(size[1], round(size[0] * RATIO[1]))
    height, width = (
        torch.where(fits.any(1), drawn.gather(1, first).squeeze(1), largest)
        for drawn, largest in zip((heights, widths), most, strict=True)
    )
    return height, width


def _padded_size(pixels: Tensor) -> int:
    n, height, width, channels = pixels.shape
    return n * (height + 2 * PADDING) * (width + 2 * PADDING) * channels


def _padded(pixels: Tensor, by: int) -> Tensor:
    n, height, width, channels = pixels.shape
    padded = pixels.new_zeros(n, height + 2 * by, width + 2 * by, channels)
    padded[:, by:-by, by:-by] = pixels
    return padded


def _resize(batch: Tensor, box: Boxes, rows: Tensor, columns: Tensor) -> Tensor:
    """Each sample's box, at the top left of its window, resized: two matrix products a batch.

    Rounded after each, as Pillow does. All factors have at most nine bits and all sums at most
    24, so the products are exact in float32 (and TF32): their order does not matter.
    """
    B, C, H, W = batch.shape
    x = batch.to(torch.float32, memory_format=torch.contiguous_format)
    x = torch.bmm(x.view(B, C * H, W), columns.index_select(0, box.width).mT).round_()
    x = torch.matmul(rows.index_select(0, box.height)[:, None], x.view(B, C, H, -1)).round_()
    return x.to(torch.uint8, memory_format=torch.channels_last)


def _resizing(source: int, target: int) -> Tensor:
    """Weights (length, target, source) that resize the first ``length`` of ``source`` pixels.

    Bilinear with antialiasing, as Pillow and ``F.interpolate(antialias=True)``: a triangle of
    half-width max(1, length / target) source pixels around the centre of each target pixel. In
    integers up to the end, and in multiples of 1/256 that sum to 1.
    """
    centre = 2 * torch.arange(target)[:, None] + 1  # times length; unit: 1 / (2 target) pixels
    pixel = (2 * torch.arange(source) + 1) * target
    weights = torch.zeros(source + 1, target, source)
    for length in range(1, source + 1):
        triangle = (2 * max(target, length) - (centre * length - pixel).abs()).clamp_(min=0)
        triangle[:, length:] = 0
        below = triangle.cumsum(1)
        total = below[:, -1:]
        steps = (512 * below + total) // (2 * total)  # rounding the sums keeps the last at 256
        weights[length] = steps.diff(dim=1, prepend=torch.zeros_like(total)) / 256
    return weights
