"""Scores: what is measured of a run, on which part of the data, at which epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from softprior import diagnostics
from softprior.diagnostics.temperature import FEWEST_ERRORS
from softprior.evidence import blocks
from softprior.evidence.comparison import Comparison
from softprior.evidence.differences import Array
from softprior.evidence.results import Method, Result
from softprior.evidence.tables import Column
from softprior.studies._shared.measurements import Measurements, Predicting
from softprior.training import Recipe, Run
from softprior.training.ensemble import ensemble
from softprior.training.run import Part, Selection

OfPredictions: TypeAlias = Callable[[Tensor, Tensor], float]
EPOCHS: dict[Selection, str] = {
    "best": "the epoch with the best validation accuracy",
    "last": "the last epoch",
}
PARTS: dict[Part, str] = {
    "test": "test set",
    "official": "official test set",
    "train": "training set, without augmentation",
    "validation": "validation set",
}


@dataclass(frozen=True)
class Score:
    """A number of a run: a function of logits (n, K) and labels (n,), and how it is shown.

    Attributes:
        part: of the data.
        scaled: after temperature scaling on the validation set.
        epoch: None is that of the comparison.
        each: where the score is a mean over images, the number of each image (n,).
        gaps: where it is a calibration error, the bin of each image and its gap.
    """

    column: Column
    function: OfPredictions
    part: Part = "test"
    scaled: bool = False
    epoch: Selection | None = None
    each: Callable[[Tensor, Tensor], Tensor] | None = None
    gaps: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None


@dataclass(frozen=True)
class Ensemble:
    """Several runs as one: the mean of their probabilities."""

    runs: Sequence[Run]

    @property
    def recipe(self) -> Recipe:
        return self.runs[-1].recipe

    def predictions(self, part: Part, epoch: Selection | None = None) -> tuple[Tensor, Tensor]:
        return ensemble(self.runs, part, epoch)


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")


def on_label(logits: Tensor, labels: Tensor) -> float:
    """Mean probability of the label, ``(1/n) Σ_i softmax(logits_i)_{labels_i}``."""
    return logits.double().softmax(1).gather(1, labels.unsqueeze(1)).mean().item()


_SCALED = "Scaled: after temperature scaling, fitted on the validation set."
_BINS = "ECE: 20 equal-width bins."
_NATS = "NLL in nats."
# Margins: what we agreed on beforehand as too small to choose a method by.
_ACCURACY = Column(name="Accuracy", percent=True, better="high", margin=0.005)
_NLL = Column(name="NLL", digits=4, better="low", margin=0.02, unit="nats", notes=(_NATS,))
_ECE = Column(name="ECE", percent=True, better="low", margin=0.01, notes=(_BINS,))

ACCURACY = Score(_ACCURACY, diagnostics.accuracy, each=_correct)
NLL = Score(_NLL, diagnostics.nll, each=_loss)
ECE = Score(_ECE, diagnostics.ece, gaps=diagnostics.calibration_gaps)
SCALED_NLL = Score(
    replace(_NLL, name="NLL, scaled", notes=(_NATS, _SCALED)),
    diagnostics.nll,
    scaled=True,
    each=_loss,
)
SCALED_ECE = replace(
    ECE, column=replace(_ECE, name="ECE, scaled", notes=(_BINS, _SCALED)), scaled=True
)
VALIDATION_ACCURACY = Score(_ACCURACY, diagnostics.accuracy, part="validation")
VALIDATION_NLL = Score(_NLL, diagnostics.nll, part="validation")
TEMPERATURE = Score(Column(name="Temperature"), diagnostics.fit_temperature, part="validation")
TRAINING_ACCURACY = Score(
    Column(name="Training accuracy", percent=True), diagnostics.accuracy, part="train"
)
UNCERTAINTY = Score(
    Column(
        name="Uncertainty",
        digits=4,
        unit="nats",
        notes=("Uncertainty: mean entropy of the predictions, in nats.",),
    ),
    diagnostics.predictive_uncertainty,
    part="train",
)
DIVERSITY = Score(
    Column(
        name="Diversity",
        unit="nats",
        notes=("Diversity: differential entropy of the true-class confidence, in nats.",),
    ),
    diagnostics.confidence_diversity,
    part="train",
)
VARIANCE = Score(
    Column(name="Variance", digits=5, notes=("Variance: variance of the true-class confidence.",)),
    diagnostics.confidence_variance,
    part="train",
)
ON_LABEL = Score(Column(name="Confidence in the label", percent=True), on_label, part="train")

TEST: dict[str, Score] = {
    "accuracy": ACCURACY,
    "nll": NLL,
    "ece": ECE,
    "scaled_nll": SCALED_NLL,
    "scaled_ece": SCALED_ECE,
}
OFFICIAL = {name: replace(score, part="official") for name, score in TEST.items()}
TRAINING: dict[str, Score] = {
    "training_accuracy": TRAINING_ACCURACY,
    "uncertainty": UNCERTAINTY,
    "diversity": DIVERSITY,
}


def compare(
    groups: Mapping[Method, Sequence[Predicting]],
    scores: Mapping[str, Score] = TEST,
    epoch: Selection | None = None,
) -> Comparison:
    """The scores of every run, by method and seed.

    Args:
        groups: runs by method, each in the order of its seeds: see :func:`.by_method`.
        scores: what to measure, by name.
        epoch: of the predictions; None is the one that each recipe selects.
    """
    runs = [run for of in groups.values() for run in of]
    measured = {method: [Measurements(run, epoch) for run in of] for method, of in groups.items()}
    results = {
        method: {one.run.recipe.seed: _result(one, scores) for one in of}
        for method, of in measured.items()
    }
    columns = columns_of(runs, scores, epoch)
    return Comparison(results, _with_doubts(columns, scores, measured))


def _with_doubts(
    columns: Mapping[str, Column],
    scores: Mapping[str, Score],
    measured: Mapping[Method, Sequence[Measurements]],
) -> dict[str, Column]:
    """Columns that use a fitted temperature say where it rests on too little."""
    using = {
        name
        for name, score in scores.items()
        if score.scaled or score.function is diagnostics.fit_temperature
    }
    doubtful = [m.label for m, of in measured.items() for one in of if using and one.doubtful]
    if not doubtful:
        return dict(columns)
    runs = sum(map(len, measured.values()))
    doubt = (
        f"In {len(doubtful)} of {runs} runs ({', '.join(dict.fromkeys(doubtful))}) the temperature "
        f"is at its bound or fitted on fewer than {FEWEST_ERRORS} errors, and says little."
    )
    return {
        name: replace(column, doubt=doubt) if name in using else column
        for name, column in columns.items()
    }


def columns_of(
    runs: Sequence[Predicting], scores: Mapping[str, Score], epoch: Selection | None = None
) -> dict[str, Column]:
    """How each score is shown, and what it was measured on."""
    return {
        name: replace(score.column, about=about(runs, score, epoch))
        for name, score in scores.items()
    }


def result(run: Predicting, scores: Mapping[str, Score], epoch: Selection | None = None) -> Result:
    """The scores of one run."""
    return _result(Measurements(run, epoch), scores)


def _result(measured: Measurements, scores: Mapping[str, Score]) -> Result:
    values: dict[str, float] = {}
    of_images: dict[str, Array] = {}
    for name, score in scores.items():
        logits, labels = measured.of(score.part, score.epoch, scaled=score.scaled)
        values[name] = score.function(logits, labels)
        if score.part not in ("test", "official"):
            continue
        if score.each is not None:
            of_images[name] = blocks.of_mean(score.each(logits, labels).numpy())
        elif score.gaps is not None:
            at, gap = score.gaps(logits, labels)
            of_images[name] = blocks.of_gaps(at.numpy(), gap.numpy())
    return Result(values, of_images)


def scaled(run: Predicting) -> tuple[Tensor, Tensor]:
    """Test logits divided by the temperature that suits the validation set best; labels."""
    return Measurements(run, None).of("test", scaled=True)


def about(runs: Iterable[Predicting], score: Score, epoch: Selection | None = None) -> str:
    """Which part of the data, and which epoch: for captions, made from what was done."""
    part = PARTS[score.part]
    return f"{part[:1].upper()}{part[1:]}; {selected(runs, score.epoch or epoch)}."


def selected(runs: Iterable[Predicting], epoch: Selection | None = None) -> str:
    """Which epoch the predictions are of, in words."""
    if epoch is not None:
        return EPOCHS[epoch]
    return " or ".join(dict.fromkeys(EPOCHS[run.recipe.select] for run in runs))
