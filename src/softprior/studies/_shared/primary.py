"""The comparisons that were decided on beforehand: of every method, in the same three scores."""

from __future__ import annotations

from collections.abc import Iterable

from softprior.evidence import Claim, Comparison
from softprior.evidence.claims import Direction

SCORES: dict[str, tuple[str, Direction]] = {
    "accuracy": ("is more accurate", "higher"),
    "scaled_nll": ("has a lower NLL after temperature scaling", "lower"),
    "ece": ("has a lower ECE (20 bins)", "lower"),
}


def primary(found: Comparison, where: str = "", *, answers: bool = False) -> Iterable[Claim]:
    """Claims on self-distillation, Beta smoothing and label smoothing, each against the others.

    Args:
        found: the methods of the main table, with the scores.
        where: what the texts of the claims begin with, such as "Each at its own amount: ".
        answers: whether they answer the paper's questions, or look closer at runs that do.
    """
    ce, ls = found.the(family="none"), found.the(family="uniform")
    sd, ranked = found.the(family="teacher"), found.where(family="beta")
    for who, ours, theirs, answering in (
        ("Self-distillation", [sd], ls, {"accuracy": "RQ3"}),
        ("Beta smoothing", ranked, ls, {"accuracy": "RQ3"}),
        ("Beta smoothing", ranked, sd, {"ece": "RQ4"}),
        ("Every regulariser", found.without(ce), ce, {}),
    ):
        for score, (what, direction) in SCORES.items():
            question = (answering[score],) if answers and score in answering else ()
            text = f"{who} {what} than {theirs.label}."
            text = f"{where}{text[0].lower()}{text[1:]}" if where else text
            yield found.claim(text, ours, theirs, score, direction, question)
