"""Calibration error by several conventions, and what is claimed of all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from softprior import diagnostics
from softprior.studies._kit import LEVEL, Claim, Difference, adjusted, verdict
from softprior.training import Run

Numbers = Mapping[str, Sequence[Mapping[str, float]]]  # by method, seed, and measure's name

# All in [0, 1], 20 bins where none are named.
CONVENTIONS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "ECE, 10 bins": partial(diagnostics.ece, bins=10),
    "ECE, 15 bins": partial(diagnostics.ece, bins=15),
    "ECE, 20 bins": partial(diagnostics.ece, bins=20),
    "ECE, equal mass": diagnostics.ece_equal_mass,
    "classwise ECE": diagnostics.ece_classwise,
    "RMS, debiased": diagnostics.rms_calibration_debiased,
}


def measure(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Every convention, score and measure of selective prediction, by its name."""
    *_, at_80, at_90, _ = diagnostics.risk_coverage(logits, labels, points=10).risk.tolist()
    return {
        **{name: error(logits, labels) for name, error in CONVENTIONS.items()},
        "NLL": diagnostics.nll(logits, labels),
        "Brier score": diagnostics.brier(logits, labels),
        "AURC": diagnostics.aurc(logits, labels),
        "Excess AURC": diagnostics.excess_aurc(logits, labels),
        "Risk at 80 %": at_80,
        "Risk at 90 %": at_90,
    }


def scaled(run: Run) -> tuple[Tensor, Tensor]:
    """Test logits divided by the temperature that suits the validation set best; labels."""
    logits, labels = run.predictions("test")
    return logits / temperature(run), labels


def temperature(run: Run) -> float:
    return diagnostics.fit_temperature(*run.predictions("validation"))


def paired(numbers: Numbers, name: str, reference: str, what: str) -> Difference:
    """``name`` minus ``reference`` in one measure, seed by seed."""
    return Difference.paired(
        [row[what] for row in numbers[name]], [row[what] for row in numbers[reference]]
    )


def everywhere(
    text: str,
    numbers: Numbers,
    names: Sequence[str],
    reference: str,
    answers: tuple[str, ...] = (),
) -> Claim:
    """That the error of each of ``names`` is lower than the reference's by every convention.

    Decided as any claim, with Holm's correction for all comparisons. That many would be
    no evidence to read, so that it is summed up method by method.
    """
    gaps = {(n, c): paired(numbers, n, reference, c) for n in names for c in CONVENTIONS}
    flat = {f"{n}, {c}": gap for (n, c), gap in gaps.items()}
    claim = verdict(text, flat, sign=-1, percent=True, answers=answers)
    odds = adjusted(flat)
    told = []
    for name in names:
        of = {f"{n}, {c}": gap for (n, c), gap in gaps.items() if n == name}
        sure = [gap for key, gap in of.items() if gap.clear and odds[key] < LEVEL]
        low, high = (
            f"{100 * end(gap.mean for gap in of.values()):+.3g}".replace("-", "−")
            for end in (min, max)
        )
        told.append(
            f"{name} {low} to {high} points, clearly lower by {sum(g.mean < 0 for g in sure)} and "
            f"higher by {sum(g.mean > 0 for g in sure)} of {len(of)}"
        )
    n = next(iter(flat.values())).n
    evidence = (
        "; ".join(told).replace("-", "−").replace("self−", "self-").replace("cross−", "cross-")
    )
    note = f"seeds: {n}; paired t tests, Holm-adjusted for {len(flat)}"
    return replace(claim, evidence=f"{evidence} ({note})", brief=evidence)
