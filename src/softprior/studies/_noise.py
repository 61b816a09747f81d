"""Right and wrong training labels apart, and the teachers that learned from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from softprior import diagnostics
from softprior.margin import label_margin
from softprior.matching import teacher_smoothing
from softprior.studies._kit import Cell, Column, Measured, Table
from softprior.training import Run


class Apart(NamedTuple):
    """What a network says of training samples whose label is right, and of those where it is not.

    Attributes:
        right: mean probability of the label, where it is right.
        wrong: mean probability of the label, where it is wrong.
        truth: mean probability of the true class there.
        learned: share of the wrong labels that are predicted.
        undone: share of the samples with a wrong label of which the true class is predicted.
        auroc: chance that a sample with a right label has the higher confidence in it.
    """

    right: float
    wrong: float
    truth: float
    learned: float
    undone: float
    auroc: float


def labels_of(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Training logits (n, K) of the last epoch, labels as given (n,), true labels (n,)."""
    logits, given = run.predictions("train", "last")
    return logits, given, run._tensors("predictions.safetensors")["train_clean"]


def apart(run: Run) -> Apart:
    """Of the last epoch, without augmentation."""
    return of_samples(*labels_of(run))


def of_samples(logits: Tensor, given: Tensor, true: Tensor) -> Apart:
    """:class:`Apart` of logits (n, K), labels as given (n,) and true labels (n,); ours."""
    logits, wrong = logits.double(), given != true
    p, predicted = logits.softmax(1), logits.argmax(1)

    def mean(values: Tensor) -> float:
        return values.double().mean().item()

    def of(labels: Tensor) -> Tensor:
        return p.gather(1, labels.unsqueeze(1)).squeeze(1)

    margin = label_margin(logits, given)
    return Apart(
        right=mean(of(given)[~wrong]),
        wrong=mean(of(given)[wrong]),
        truth=mean(of(true)[wrong]),
        learned=mean((predicted == given)[wrong]),
        undone=mean((predicted == true)[wrong]),
        auroc=auroc(margin[~wrong], margin[wrong]),
    )


def auroc(high: Tensor, low: Tensor) -> float:
    """Area under the ROC curve of scores (n,) and (m,): P(h > l) + P(h = l) / 2."""
    ordered = low.sort().values
    below, upto = (torch.searchsorted(ordered, high, right=right) for right in (False, True))
    return (below + upto).double().mean().item() / (2 * len(low))


def taken_apart(key: str, setting: str, rows: Mapping[str, Sequence[Apart]]) -> Table:
    """The samples of one setting, by method."""
    return Table(
        key=key,
        title=f"Right and wrong training labels, {setting}",
        caption="Training set, last epoch, mean ± standard deviation over seeds. Mean probability "
        "of the label where it is right, of the label where it is wrong, and of the true class "
        "there; share of the wrong labels that are predicted (learned), and of their true classes "
        "(undone). AUROC: how well confidence in the label tells right labels from wrong ones; 0.5 "
        "is chance.",
        columns=(
            Column(name="Method"),
            Column(name="Right label", percent=True),
            Column(name="Wrong label", percent=True, better="low"),
            Column(name="True class", percent=True, better="high"),
            Column(name="Learned", percent=True, better="low"),
            Column(name="Undone", percent=True, better="high"),
            Column(name="AUROC", digits=3, better="high"),
        ),
        rows=[
            (name, *(Measured.of(values) for values in zip(*of, strict=True)))
            for name, of in rows.items()
        ],
    )


def teachers(
    runs: Mapping[str, Sequence[Run]], weights: Sequence[float], temperature: float
) -> Table:
    """The teacher of each setting: its scores, and what its votes take from the given label."""
    rows: list[tuple[Cell, ...]] = []
    for setting, of in runs.items():
        train = [run.predictions("train") for run in of]
        columns = [
            [diagnostics.accuracy(*run.predictions("test")) for run in of],
            [diagnostics.accuracy(*predictions) for predictions in train],
        ]
        for weight in weights:
            columns.append(
                [teacher_smoothing(*t, temperature=temperature, weight=weight) for t in train]
            )
        rows.append((setting, *map(Measured.of, columns)))
    return Table(
        key="teachers",
        title="The teacher, and how much its votes take from the label",
        caption="Mean ± standard deviation over seeds, selected epoch. Training accuracy on the "
        "labels "
        f"as given. Taken: mean of w (1 - vote for that label) at T = {temperature:g}. At any "
        "temperature it is about w times the training error at the least, so that with many wrong "
        "labels self-distillation cannot be matched to the 15 % of the other methods.",
        columns=(
            Column(name="Noise"),
            Column(name="Test accuracy", percent=True),
            Column(name="Training accuracy", percent=True),
            *(Column(name=f"Taken, w = {w:g}", percent=True) for w in weights),
        ),
        rows=rows,
    )
