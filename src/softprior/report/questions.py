"""The paper's five questions, each answered in a row of one table by every study that can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from softprior.evidence.claims import Claim, Outcome, Verdict
from softprior.report.results import Section

QUESTIONS = {
    "RQ1": "Does student performance in self-distillation improve when the diversity of the "
    "teacher's predictions increases?",
    "RQ2": "Can self-distillation be related to label smoothing, theoretically, through the MAP "
    "framework?",
    "RQ3": "Is instance-specific regularisation (Beta smoothing included) superior to conventional "
    "label smoothing?",
    "RQ4": "Does Beta smoothing offer calibration benefits measured against self-distillation?",
    "RQ5": "What is the role of predictive diversity in better generalisation and better "
    "calibration?",
}
_OPENINGS: dict[Outcome, str] = {
    "holds": "",
    "does not hold": "Does not hold: ",
    "no difference": "No difference that matters; the claim was: ",
    "cannot tell": "Cannot tell whether ",
}


class Row(NamedTuple):
    """What one study says to a question, on its data set."""

    section: Section
    verdict: Verdict
    effect: str  # the numbers, with their intervals
    words: str


class Answer(NamedTuple):
    """A question, and a row for each study with claims about it."""

    name: str
    question: str
    rows: list[Row]


def answers(sections: Sequence[Section]) -> list[Answer]:
    """The questions that some claim of these sections is about, with the answers."""
    found = []
    for name, question in QUESTIONS.items():
        answering = [(s, [c for c in s.claims if name in c.answers]) for s in sections]
        rows = [_row(section, claims) for section, claims in answering if claims]
        if rows:
            found.append(Answer(name, question, rows))
    return found


def _row(section: Section, claims: Sequence[Claim]) -> Row:
    return Row(
        section,
        together([claim.verdict for claim in claims]),
        "; ".join(claim.brief or claim.evidence for claim in claims),
        " ".join(f"{_after(_OPENINGS[c.verdict.outcome], c.text)}." for c in claims),
    )


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several claims at once: all hold, or one does not, or else we cannot tell.

    >>> together([Verdict("holds"), Verdict("cannot tell")]).outcome
    'cannot tell'
    """
    outcomes = {verdict.outcome for verdict in verdicts}
    if "does not hold" in outcomes:
        return Verdict("does not hold")
    if len(outcomes) > 1:
        return Verdict("cannot tell")
    return Verdict(outcomes.pop(), "; ".join(v.more for v in verdicts if v.more))


def _after(opening: str, text: str) -> str:
    """A claim's text without its full stop, after the opening of its verdict if there is one."""
    return opening + _continued(text) if opening else text.removesuffix(".")


def _continued(text: str) -> str:
    """A claim's text in the middle of a sentence; a name in capitals stays one.

    >>> _continued("NLL falls."), _continued("Accuracy rises."), _continued("A gain is seen.")
    ('NLL falls', 'accuracy rises', 'a gain is seen')
    """
    text = text.removesuffix(".")
    name = text[:2].isupper() and not text.startswith("A ")  # an article is no name
    return text if name or text.startswith("Beta") else text[:1].lower() + text[1:]
