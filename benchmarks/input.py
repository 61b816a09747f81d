"""What augmentation costs: whole batches against one image at a time, one thread, CPU.

    python benchmarks/input.py [--rounds 15] [--seconds 0.2] [--side 32] [--batch 128]

From uint8 pixels in memory to a normalised float32 batch, ready for the network. One image at a
time is the usual pipeline (pad, crop, flip, to tensor, normalise, collate), written with Pillow
and without torchvision; its random numbers are drawn beforehand. In each round every pipeline is
timed once, in shuffled order; medians over the rounds, quartiles in brackets. Prints the machine,
the table, and the sentences that it proves.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from softprior.training.augment import KINDS, PADDING, Views, draw, normalise
from softprior.training.provenance import processor

try:
    import numpy as np
    import PIL
    from PIL import Image, ImageOps
except ImportError:
    PIL = None  # type: ignore[assignment]

N = 20_000  # images in memory: more than any cache holds
MEAN, STD = torch.tensor([125.3, 123.0, 113.9]), torch.tensor([63.0, 62.1, 66.7])
BARE = "crop, without normalise"


def whole_batches(pixels: Tensor, kind: str) -> Callable[[Tensor], Tensor]:
    view = Views(pixels, kind).epoch(torch.Generator().manual_seed(0))
    return lambda index: normalise(view(index), MEAN, STD)


def one_at_a_time(pixels: Tensor, kind: str) -> Callable[[Tensor], Tensor]:
    """The same views with Pillow (those of "resized" up to rounding)."""
    side = pixels.shape[1]
    boxes = draw(kind, len(pixels), (side, side), torch.Generator().manual_seed(0))
    parameters = torch.stack(boxes, 1).tolist()
    mean, std = MEAN.view(3, 1, 1) / 255, STD.view(3, 1, 1) / 255

    def sample(i: int) -> Tensor:
        image = Image.fromarray(pixels[i].numpy())
        top, left, height, width, mirrored = parameters[i]
        if kind == "crop":
            image = ImageOps.expand(image, PADDING)
        image = image.crop((left, top, left + width, top + height))
        if kind == "resized":
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)
        return tensor.sub_(mean).div_(std)

    return lambda index: torch.stack([sample(i) for i in index.tolist()])


def pipelines(pixels: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    runs = {kind: whole_batches(pixels, kind) for kind in KINDS}
    runs[BARE] = Views(pixels, "crop").epoch(torch.Generator().manual_seed(0))
    if PIL is not None:
        runs |= {f"{kind}, Pillow": one_at_a_time(pixels, kind) for kind in ("crop", "resized")}
    return runs


def rate(run: Callable[[Tensor], Tensor], batch: int, calls: int) -> float:
    """Images per second over ``calls`` random batches."""
    batches = [torch.randint(N, (batch,)) for _ in range(calls)]
    start = time.perf_counter()
    for index in batches:
        run(index)
    return batch * calls / (time.perf_counter() - start)


def machine() -> str:
    allocator = {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")} or "glibc default"
    pillow = f"Pillow {PIL.__version__}" if PIL is not None else "no Pillow"
    return (
        f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"1 thread of {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{pillow}, allocator: {allocator}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="per pipeline and round, about")
    parser.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    size = f"{options.side} × {options.side} × 3"
    pixels = torch.randint(256, (N, options.side, options.side, 3), dtype=torch.uint8)
    runs = pipelines(pixels)
    calls = {}
    for name, run in runs.items():
        rate(run, options.batch, 2)  # warm up
        calls[name] = max(1, round(options.seconds * rate(run, options.batch, 3) / options.batch))
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name in random.sample(list(runs), len(runs)):
            rates[name].append(rate(runs[name], options.batch, calls[name]))

    print(machine())
    print(f"{N:,} images of {size}, batches of {options.batch}, {options.rounds} rounds\n")
    for name, found in rates.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"  {name:24} {middle:11,.0f} images/s   [{low:,.0f}, {high:,.0f}]")
    print()
    for kind in ("crop", "resized"):
        if f"{kind}, Pillow" in rates:
            pairs = zip(rates[kind], rates[f"{kind}, Pillow"], strict=True)
            ratio = statistics.median(ours / theirs for ours, theirs in pairs)
            print(f"Whole batches are {ratio:.1f} times as fast as one image at a time ({kind}).")
    seconds = 50_000 / statistics.median(rates["crop"])
    print(f"An epoch of 50,000 images of {size} (crop and flip) costs {seconds:.2f} s of one core.")


if __name__ == "__main__":
    main()
