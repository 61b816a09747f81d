"""What the loss of a head of many classes costs without its logits: time and memory, one thread.

    python benchmarks/linear.py [--rounds 3] [--classes 32768 131072]

N = 2,048 samples, D = 256: the loss and the gradients of hidden and weight, by
``linear_posterior_loss`` and the plain way, with the logits ``hidden @ weight.T``. In each round
each is timed once (seconds of this process), in shuffled order, and divided by the plain way of the
same round; medians over the rounds, lowest and highest in brackets. Extra memory is the peak of
what torch allocates in a call, beyond what is there before, and its ratio. The plain ways are
``F.cross_entropy`` with label smoothing, and ``posterior_loss`` or the criterion on the logits.
Prints the machine, the table, and the sentences that it proves.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from softprior import (
    LinearPosteriorLoss,
    Sparse,
    TwoLevel,
    beta_smoothing,
    linear_posterior_loss,
    posterior_loss,
)
from softprior.training.provenance import processor

N, D = 2048, 256
# Each with its plain way.
PAIRS = {
    "smoothed": "smoothed, F.cross_entropy",
    "top-20 teacher": "top-20 teacher, posterior_loss",
    "Beta by own margins": "Beta by own margins, criterion",
}
# Hard labels alone, beside torch's own kernel of them: with the fewest classes, where it is there.
HARD, USUAL, TORCH = "hard labels", "hard labels, F.cross_entropy", "hard labels, torch's"


def ways(classes: int, hard: bool) -> dict[str, Callable[[], object]]:
    """Loss and gradients of the same batch, as closures."""
    hidden = torch.randn(N, D, requires_grad=True)
    weight = (torch.randn(classes, D) / D**0.5).requires_grad_()
    labels = torch.randint(classes, (N,))
    smooth = TwoLevel(0.1 / classes, 0.1 / classes)
    few = torch.stack([torch.randperm(classes)[:20] for _ in range(N)])
    top = Sparse(few, torch.rand(N, 20) / 50, 0.2 / classes)
    beta = beta_smoothing(0.1)
    linear = LinearPosteriorLoss(beta)
    w = {"label_weight": 0.9}
    losses: dict[str, Callable[[], Tensor]] = {
        "smoothed": lambda: linear_posterior_loss(hidden, weight, labels, smooth, **w),
        PAIRS["smoothed"]: lambda: F.cross_entropy(
            hidden @ weight.t(), labels, label_smoothing=0.1
        ),
        "top-20 teacher": lambda: linear_posterior_loss(hidden, weight, labels, top, **w),
        PAIRS["top-20 teacher"]: lambda: posterior_loss(hidden @ weight.t(), labels, top, **w),
        "Beta by own margins": lambda: linear(hidden, weight, labels),
        PAIRS["Beta by own margins"]: lambda: beta(hidden @ weight.t(), labels),
    }
    if hard:
        losses[HARD] = lambda: linear_posterior_loss(hidden, weight, labels)
        losses[USUAL] = lambda: F.cross_entropy(hidden @ weight.t(), labels)
        chunks = torch.nn.LinearCrossEntropyOptions()
        losses[TORCH] = lambda: F.linear_cross_entropy(hidden, weight, labels, options=chunks)
    # The gradients go back to their owner each time, as those of a training do.
    return {
        name: lambda loss=loss: torch.autograd.grad(loss(), (hidden, weight))  # type: ignore[misc]
        for name, loss in losses.items()
    }


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def peak(run: Callable[[], object]) -> float:
    """MiB that torch holds at most within a call, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held = most = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        held += change
        most = max(most, held)
    return most / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, nargs="+", default=[32_768, 131_072])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    print(
        f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, 1 thread, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, float32"
    )
    print(f"N = {N:,}, D = {D}; {options.rounds} rounds in shuffled order; of the plain way")
    found: dict[str, list[tuple[float, float]]] = {}
    for classes in options.classes:
        hard = classes == min(options.classes) and hasattr(F, "linear_cross_entropy")
        runs = ways(classes, hard)
        memory = {name: peak(run) for name, run in runs.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name in random.sample(list(runs), len(runs)):
                times[name].append(seconds(runs[name]))
        print(f"\nK = {classes:,}")
        for name, plain in {**PAIRS, **({HARD: USUAL, TORCH: USUAL} if hard else {})}.items():
            ratios = [t / p for t, p in zip(times[name], times[plain], strict=True)]
            ratio, share = statistics.median(ratios), memory[name] / memory[plain]
            found.setdefault(name, []).append((ratio, share))
            print(
                f"  {name:20} {statistics.median(times[name]):6.2f} s   {ratio:4.2f} "
                f"[{min(ratios):.2f}, {max(ratios):.2f}]   {memory[name]:6.0f} MiB, {share:.2f} "
                f"of {memory[plain]:.0f}"
            )
    print()
    for name, each in found.items():
        time_, share = max(r for r, _ in each), max(s for _, s in each)
        print(f"{name}: at most {time_:.2f} times the time and {share:.2f} times the extra memory.")


if __name__ == "__main__":
    main()
