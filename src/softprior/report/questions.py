"""The paper's five questions, each answered in a sentence by every study that can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from softprior.evidence.claims import Claim, Outcome
from softprior.report.results import Section

# The questions in our words. A claim names those that it helps to answer.
QUESTIONS = {
    "RQ1": "Why does a student get better than its teacher: do predictive uncertainty and "
    "confidence diversity grow over the generations, and does accuracy grow with them?",
    "RQ2": "Are self-distillation and label smoothing one objective, with different priors?",
    "RQ3": "Is smoothing that is specific to the instance better than uniform smoothing of the "
    "same amount?",
    "RQ4": "Does Beta smoothing have the same benefit without a teacher, and is it better "
    "calibrated?",
    "RQ5": "What does the temperature of a teacher change: the amount of smoothing, or its "
    "diversity?",
}
_OPENINGS: dict[Outcome, str] = {
    "holds": "",
    "does not hold": "Does not hold: ",
    "no difference": "No difference that matters: ",
    "cannot tell": "Cannot tell whether ",
}


class Answer(NamedTuple):
    """A question, and the sentences of each section that has claims about it."""

    name: str
    question: str
    sentences: list[tuple[Section, str]]


def answers(sections: Sequence[Section]) -> list[Answer]:
    """The questions that some claim of these sections is about, with the answers."""
    found = []
    for name, question in QUESTIONS.items():
        answering = [(s, [c for c in s.claims if name in c.answers]) for s in sections]
        sentences = [(s, sentence(claims)) for s, claims in answering if claims]
        if sentences:
            found.append(Answer(name, question, sentences))
    return found


def sentence(claims: Sequence[Claim]) -> str:
    """The claims with their verdicts and numbers; those that hold first.

    >>> from softprior.evidence import Verdict
    >>> works = Claim(text="It works.", verdict=Verdict("holds"), evidence="+1 [0, 2] (seeds: 5)")
    >>> sentence([works])
    'It works: +1 [0, 2] (seeds: 5).'
    """
    return " ".join(
        f"{_after(opening, claim.text)}: {claim.brief or claim.evidence}."
        for outcome, opening in _OPENINGS.items()
        for claim in claims
        if claim.verdict.outcome == outcome
    )


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
