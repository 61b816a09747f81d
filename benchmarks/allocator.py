"""What keeping freed blocks, and bf16 autocast, do to training on the CPU.

    python benchmarks/allocator.py [--rounds 5]

Each round trains a ResNet-8 on 32 × 32 images in fresh single-thread processes, one for each
setting in shuffled order, and divides by the plain one of the same round; medians, quartiles.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import subprocess
import sys
import time

import torch

from softprior import label_smoothing
from softprior.training import models
from softprior.training.allocator import keep_blocks
from softprior.training.provenance import processor

SETTINGS = ("plain", "blocks kept", "blocks kept, bf16")


def images_per_second(setting: str, steps: int = 40) -> float:
    """One measurement, in this process."""
    torch.set_num_threads(1)
    if "kept" in setting and not keep_blocks():
        raise SystemExit("this C library's allocator cannot be told to keep blocks")
    model = models.build("resnet8", (3, 32, 32), 10, 0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    criterion = label_smoothing(0.15)
    inputs = torch.randn(128, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (128,))
    for step in range(steps + 5):
        if step == 5:  # the first few find their algorithms
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in setting):
            logits = model(inputs)
        optimizer.zero_grad()
        criterion(logits, labels).backward()
        optimizer.step()
    return 128 * steps / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=SETTINGS, help="measure one setting in this process")
    options = parser.parse_args()
    if options.one:
        print(images_per_second(options.one))
        return
    rates: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
    for _ in range(options.rounds):
        for setting in random.sample(SETTINGS, len(SETTINGS)):
            command = [sys.executable, __file__, "--one", setting]
            rates[setting].append(float(subprocess.check_output(command)))
    print(f"{processor()}, {platform.python_version()}, torch {torch.__version__}, one thread")
    print(f"ResNet-8, batch 128, {options.rounds} rounds")
    for setting, measured in rates.items():
        ratios = [r / plain for r, plain in zip(measured, rates["plain"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{setting:20} {statistics.median(measured):6.0f} images/s, "
            f"{middle:.2f} [{low:.2f}, {high:.2f}] times plain"
        )


if __name__ == "__main__":
    main()
