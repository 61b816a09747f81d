"""What the losses cost beside ``F.cross_entropy``: forward and backward, one thread, CPU.

    python benchmarks/loss.py [--rounds 15] [--seconds 0.02]

In each round every loss is timed once, in shuffled order, and divided by ``F.cross_entropy`` of
the same round; medians over the rounds, quartiles in brackets. Prints the machine, the table,
and the sentences that it proves.
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
import torch.nn.functional as F
from torch import Tensor

from softprior import PosteriorLoss, TwoLevel, beta_smoothing, posterior_loss, self_distillation
from softprior.training.provenance import processor

SHAPES = ((128, 10), (128, 100), (1024, 1000), (128, 50_000))
BASE, SMOOTHED = "F.cross_entropy", "F.cross_entropy(label_smoothing)"
UNIFORM, TEACHER = "posterior_loss, uniform", "self_distillation, teacher logits"
USUAL = "F.cross_entropy + F.kl_div"
MEMORY, OWN = "beta_smoothing, memory", "beta_smoothing, own logits"


def usual_distillation(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
    """Distillation as it is commonly written, in two terms."""
    soft = torch.softmax(teacher / 4.0, -1)
    kl = F.kl_div(torch.log_softmax(logits, -1), soft, reduction="batchmean")
    return 0.6 * F.cross_entropy(logits, labels) + 0.4 * kl


def losses(rows: int, classes: int) -> dict[str, Callable[[], Tensor]]:
    """One forward pass of each loss on the same batch, as closures."""
    logits = torch.randn(rows, classes, requires_grad=True)
    teacher = torch.randn(rows, classes)
    confidence = torch.randn(rows)
    labels = torch.randint(classes, (rows,))
    each = 0.15 / classes
    distillation: PosteriorLoss = self_distillation()
    beta: PosteriorLoss = beta_smoothing()
    forward: dict[str, Callable[[Tensor], Tensor]] = {
        BASE: lambda f: F.cross_entropy(f, labels),
        SMOOTHED: lambda f: F.cross_entropy(f, labels, label_smoothing=0.15),
        UNIFORM: lambda f: posterior_loss(f, labels, TwoLevel(each, each), label_weight=0.85),
        MEMORY: lambda f: beta(f, labels, confidence),
        OWN: lambda f: beta(f, labels),
        TEACHER: lambda f: distillation(f, labels, teacher),
        USUAL: lambda f: usual_distillation(f, labels, teacher),
    }

    def step(loss: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        # The gradient goes back to its owner each time, as that of activations does.
        return lambda: torch.autograd.grad(loss(logits), logits)[0]

    return {name: step(loss) for name, loss in forward.items()}


def seconds(run: Callable[[], Tensor], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def measure(rows: int, classes: int, rounds: int, budget: float) -> dict[str, list[float]]:
    """Seconds per call, one number per round and loss."""
    runs = losses(rows, classes)
    for run in runs.values():
        seconds(run, 3)  # warm up
    calls = max(1, round(budget / seconds(runs[BASE], 3)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in random.sample(list(runs), len(runs)):
            times[name].append(seconds(runs[name], calls))
    return times


def machine() -> str:
    allocator = {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")} or "glibc default"
    return (
        f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"1 thread of {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"allocator: {allocator}, float32"
    )


def summary(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.02, help="per loss and round, about")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    print(machine())
    print(f"{options.rounds} rounds in shuffled order; median [quartiles] of ratios per round")
    ratios: dict[tuple[str, tuple[int, int]], float] = {}
    microseconds: dict[tuple[str, tuple[int, int]], float] = {}
    for shape in SHAPES:
        times = measure(*shape, options.rounds, options.seconds)
        print(f"\n(B, K) = {shape}")
        for name, took in times.items():
            low, ratio, high = summary([t / b for t, b in zip(took, times[BASE], strict=True)])
            smoothed = statistics.median(t / s for t, s in zip(took, times[SMOOTHED], strict=True))
            micro = statistics.median(took) * 1e6
            ratios[name, shape], microseconds[name, shape] = ratio, micro
            print(
                f"  {name:34} {micro:10.1f} µs   {ratio:5.2f} [{low:.2f}, {high:.2f}] of {BASE}"
                f"   {smoothed:5.2f} of its label smoothing"
            )
    print()
    usual = [ratios[TEACHER, s] / ratios[USUAL, s] for s in SHAPES[2:]]
    small, large = SHAPES[:2], SHAPES[2:]
    for name in (UNIFORM, MEMORY, OWN, TEACHER):
        extra = max(microseconds[name, s] - microseconds[BASE, s] for s in small)
        found = [ratios[name, s] for s in large]
        print(
            f"{name}: {min(found):.2f} to {max(found):.2f} times {BASE} from B·K ≈ 10⁶ up; "
            f"at most {extra:.0f} µs more than it at K ≤ 100."
        )
    print(f"{TEACHER}: {min(usual):.2f} to {max(usual):.2f} times {USUAL} from B·K ≈ 10⁶ up.")


if __name__ == "__main__":
    main()
