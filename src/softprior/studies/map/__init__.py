"""One objective: label smoothing, self-distillation and Beta smoothing as MAP estimates.

Claim: the three are the same objective, the negative log posterior of a categorical likelihood
    and a Dirichlet prior, and differ in the prior alone; its minimum is the mode of the posterior.
Paper: RQ2, amortized MAP view of self-distillation (an identity there, nothing to train).
Run: softprior study map
Cost: one network of a second, at every scale.
Expected: every identity holds to rounding; the difference to a hot teacher falls as 1/T.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from softprior import diagnostics
from softprior.evidence import Cell, Claim, Column, Figure, Measured, Table
from softprior.evidence.claims import identity
from softprior.matching import teacher_temperature, uniform_smoothing
from softprior.priors import BetaPrior, Prior, TeacherPrior, UniformPrior
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.recipes import Scale
from softprior.studies.map.identities import (
    TEMPERATURES,
    drawn,
    hot_teacher,
    optimum,
    posterior,
    pytorch_smoothing,
    usual_mix,
)
from softprior.studies.map.simplex import limit, simplices
from softprior.training import Recipe, Run

SEEDS = {"smoke": 1, "desk": 1, "paper": 1}
SAMPLES = 128
ROUNDING = (
    1e-10  # of numbers of order 1 in float64, through sums, logarithms and the gamma function
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """A network of a few seconds, at every scale: the teacher probabilities are real ones."""
    return (shared.base(replace(scale, name="smoke"), seed) for seed in scale.seeds)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """The identities as numbers, worst over all samples and seeds; then in a picture."""
    found: dict[str, dict[str, float]] = {}
    hot: dict[float, float] = {}
    for run in runs:
        teacher_logits, labels = (t[:SAMPLES] for t in run.predictions("train"))
        logits = drawn(len(teacher_logits), teacher_logits.shape[1], run.recipe.seed)
        for name, prior in methods(teacher_logits, labels).items():
            errors = posterior(prior, logits, labels, teacher_logits)
            errors["usual mix"] = usual_mix(prior, logits, labels, teacher_logits)
            errors["optimum"] = optimum(prior, labels, teacher_logits)
            _keep_worst(found.setdefault(name, {}), errors)
        smoothing = pytorch_smoothing(logits, labels)
        _keep_worst(found["label smoothing"], {"PyTorch": smoothing})
        for temperature in TEMPERATURES:
            gap = hot_teacher(logits, labels, teacher_logits, temperature)
            hot[temperature] = max(hot.get(temperature, 0.0), gap)
    yield from _claims(found, hot)
    yield _identity_table(found)
    yield simplices()
    yield limit(hot)
    yield _lender(runs)


def methods(teacher_logits: Tensor, labels: Tensor) -> dict[str, Prior]:
    """The priors of the MAP objective, label weight 1, at the same average smoothing.

    A prior of strength β there is one of soft weight w = β / (1 + β) in the usual mix.
    """
    ε, w = shared.SMOOTHING, shared.WEIGHT
    s = uniform_smoothing(ε, teacher_logits.shape[1])
    try:
        T = teacher_temperature(teacher_logits, labels, smoothing=ε, weight=w)
    except ValueError:  # after a few epochs it may be wrong too often; any temperature will do
        T = 1.0
    a = BetaPrior.matching(ε, strength=w).a
    return {
        "label smoothing": UniformPrior(s / (1 - s)),
        "self-distillation": TeacherPrior(w / (1 - w), T),
        "Beta smoothing": BetaPrior(w / (1 - w), a),
    }


def _keep_worst(worst: dict[str, float], errors: Mapping[str, float]) -> None:
    for name, error in errors.items():
        worst[name] = max(worst.get(name, 0.0), error)


def _claims(
    found: Mapping[str, Mapping[str, float]], hot: Mapping[float, float]
) -> Iterable[Claim]:
    def most(*names: str) -> float:
        return max(row[name] for row in found.values() for name in names if name in row)

    yield _held(
        "Label smoothing, self-distillation and Beta smoothing are one loss, the negative log "
        "posterior of a Dirichlet prior (up to a constant), with its gradient.",
        most("loss", "gradient"),
        ROUNDING,
        ("RQ2",),
    )
    yield _held(
        "The usual mix (1 − w) · CE(label) + w · CE(soft target) is 1 − w times it.",
        most("usual mix"),
        ROUNDING,
    )
    yield _held(
        "Label smoothing is PyTorch's cross_entropy(label_smoothing=s).", most("PyTorch"), ROUNDING
    )
    falling = list(hot.values())
    last = list(hot)[-1]
    yield identity(
        "Self-distillation becomes label smoothing as the teacher's temperature grows.",
        falling == sorted(falling, reverse=True) and falling[-1] < 100 / last,
        "largest difference of the loss "
        + ", ".join(f"{scientific(gap)} at T = {T:,.0f}" for T, gap in hot.items())
        + f" nats; wanted: falling throughout, and below {scientific(100 / last)} at last",
    )
    yield _held(
        "Minimising it over the logits of a sample ends in soft_labels, the mode of the posterior.",
        most("optimum"),
        ROUNDING,
    )


def _held(text: str, error: float, tolerance: float, answers: tuple[str, ...] = ()) -> Claim:
    return identity(
        text,
        error < tolerance,
        f"largest difference {scientific(error)}, tolerance {scientific(tolerance)}, in float64",
        answers,
    )


def scientific(value: float) -> str:
    """In plain text, two digits.

    >>> scientific(0.00012), scientific(0.12)
    ('1.2 · 10⁻⁴', '0.12')
    """
    if value == 0 or 0.01 <= value < 100:
        return f"{value:.2g}"
    if math.isinf(value):
        return "∞"
    digits, _, exponent = f"{value:.1e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits} · 10{raised}"


def _identity_table(found: Mapping[str, Mapping[str, float]]) -> Table:
    def cell(row: Mapping[str, float], name: str) -> Cell:
        return scientific(row[name]) if name in row else "–"

    columns = {
        "loss": "Loss − negative log posterior",
        "gradient": "Gradients",
        "usual mix": "Loss − usual mix / (1 − w)",
        "PyTorch": "Loss − PyTorch's / (1 − s)",
        "optimum": "Optimum − soft label",
    }
    return Table(
        key="identities",
        title="Largest absolute difference",
        caption=f"Over {SAMPLES} samples (fewer, where there are not so many), in float64. Logits "
        "are drawn, N(0, 3²); the teacher probabilities of self-distillation and the ranks of Beta "
        "smoothing are those of a trained network. Losses in nats; the negative log posterior is "
        "that of torch.distributions (Categorical and Dirichlet), without the Dirichlet's "
        "normaliser. Optimum: softmax of the logits at which Newton's method ends, started at 0.",
        columns=(Column(name="Method"), *(Column(name=text) for text in columns.values())),
        rows=[(name, *(cell(row, c) for c in columns)) for name, row in found.items()],
    )


def _lender(runs: Sequence[Run]) -> Table:
    train = [run.predictions("train") for run in runs]
    return Table(
        key="teacher",
        title="The network that is the teacher",
        caption="After a few epochs of cross-entropy, on its training set: an identity needs no "
        "better one. Predictive uncertainty in nats.",
        columns=(
            Column(name="Network"),
            Column(name="Training accuracy", percent=True),
            Column(name="Uncertainty", digits=3),
        ),
        rows=[
            (
                str(runs[0].recipe.model),
                Measured.of([diagnostics.accuracy(*t) for t in train]),
                Measured.of([diagnostics.predictive_uncertainty(*t) for t in train]),
            )
        ],
    )
