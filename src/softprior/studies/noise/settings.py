"""Kinds and shares of noise: their names, and a column for each in every table of scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from softprior.evidence import Cell, Column, Comparison, Method, Table
from softprior.evidence.comparison import LEVELS, PAIRED, sentences
from softprior.evidence.tables import notes

Kind: TypeAlias = Literal["symmetric", "pair"]
Setting: TypeAlias = tuple[Kind, float]  # kind and share of the noise

TABLES = (
    ("accuracy_best", "Test accuracy, selected epoch", "accuracy"),
    ("accuracy_last", "Test accuracy, last epoch", "last"),
    ("nll", "Test NLL, selected epoch", "nll"),
    ("ece", "Test ECE, selected epoch", "ece"),
    ("train", "Training accuracy on the labels as given, last epoch", "training_accuracy"),
)
DIFFERENCES = {"accuracy_best": "differences_best", "accuracy_last": "differences_last"}


def setting_label(setting: Setting) -> str:
    """The noise in words."""
    kind, share = setting
    return f"{kind} {share:.0%}".replace("%", " %") if share else "no noise"


def settings(found: Comparison) -> list[Setting]:
    """Every kind and share that was compared."""
    return list(dict.fromkeys(m["noise"] for m in found.methods))


def reference(found: Comparison, setting: Setting) -> Method:
    """Cross-entropy under the same noise."""
    return found.the(family="none", noise=setting)


def score_tables(found: Comparison, note: str) -> Iterable[Table]:
    """Each score of each method, a column for each setting; of accuracy the differences, too."""
    for key, title, score in TABLES:
        yield across(found, key, title, score, note)
        if key in DIFFERENCES:
            yield across(
                found,
                *(DIFFERENCES[key], f"{title}: difference to cross-entropy", score),
                note="The wrong labels, too, are the same.",
                differences=True,
            )


def across(
    found: Comparison, key: str, title: str, score: str, note: str, *, differences: bool = False
) -> Table:
    """One score of each method, or its differences to the reference, in every setting."""
    column = found.columns[score]
    columns = {setting: column.with_name(setting_label(setting)) for setting in settings(found)}

    def cell(method: Method) -> Cell:
        theirs = reference(found, method["noise"])
        return found.gap(method, theirs, score) if differences else found.measured(method, score)

    rows: dict[str, list[Cell]] = {}
    for setting in columns:
        for method in found.where(noise=setting):
            if not (differences and method == reference(found, setting)):
                rows.setdefault(method.label, []).append(cell(method))
    alone = found.only(found.methods, [score])
    how, more = (PAIRED, alone.covered) if differences else (LEVELS, "")
    return Table(
        key=key,
        title=title,
        caption=sentences(how, column.about, notes([column]), note, more),
        columns=(Column(name="Method"), *columns.values()),
        rows=[(label, *cells) for label, cells in rows.items()],
    )
