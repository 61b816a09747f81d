"""What a diagnostic may be given: arrays, and probabilities where that is said."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprior import diagnose, diagnostics
from softprior.diagnostics.temperature import FEWEST_ERRORS, HIGHEST, LOWEST, doubt_of
from softprior.evidence.tables import Column, Measured, Table
from softprior.report.cells import DOUBT, heading, note
from softprior.report.diagnosis import diagnosis_section

FUNCTIONS = {
    name: getattr(diagnostics, name)
    for name in diagnostics.__all__
    if inspect.isfunction(getattr(diagnostics, name))
}


def drawn(n: int = 60, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(n)
    labels = torch.randint(classes, (n,), generator=g)
    logits = torch.randn(n, classes, generator=g, dtype=torch.float64)
    return logits + 2 * torch.eye(classes, dtype=torch.float64)[labels], labels


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(np.allclose(np.asarray(one), np.asarray(other), rtol=1e-9, equal_nan=True))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.numpy(),
        lambda x: x.numpy()[::-1][::-1],
        lambda x: np.asfortranarray(x.numpy()),
        lambda x: x.numpy().astype(x.numpy().dtype.newbyteorder(">")),
    ],
)
def test_arrays_are_tensors(name: str, convert: Callable[[torch.Tensor], Any]) -> None:
    logits, labels = drawn()
    given = convert(logits)
    given.flags.writeable = False
    function = FUNCTIONS[name]
    assert same(function(given, convert(labels)), function(logits, labels))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_probabilities_are_told_by_an_argument(name: str) -> None:
    logits, labels = drawn()
    function, p = FUNCTIONS[name], logits.softmax(1)
    wanted = function(p.log(), labels)
    for found in (
        function(p, labels, probs=True),
        function(p.numpy(), labels.numpy(), probs=True),
        function(probs=p, labels=labels),
        function(probs=p.numpy(), labels=labels.numpy()),
    ):
        assert same(found, wanted)
    with pytest.raises(TypeError, match="both given"):
        function(logits, labels, probs=p)
    with pytest.raises(ValueError, match="are these logits"):
        function(logits, labels, probs=True)
    with pytest.raises(ValueError, match="sums to 2"):
        function(2 * p, labels, probs=True)
    with pytest.raises(TypeError, match="probabilities must be floating point"):
        function(labels, labels, probs=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_probabilities_given_as_logits_are_told(name: str) -> None:
    logits, labels = drawn()
    function, p = FUNCTIONS[name], logits.softmax(1)
    for scores in (p, p.numpy(), p.float(), p.half(), torch.eye(4)[labels]):
        with pytest.warns(UserWarning, match="every row of logits is ≥ 0 and sums to 1"):
            function(scores, labels)
    for right in (logits, p.log(), p + 1, p[:, :3]):
        function(right, labels.clamp(max=2))


def test_the_warning_is_one() -> None:
    logits, labels = drawn()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        diagnose(logits.softmax(1), labels)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("labels", "error"),
    [(np.array(["a"] * 60), TypeError), (np.array([None] * 60), TypeError), ([0] * 60, TypeError)],
)
def test_arrays_of_no_numbers(labels: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="labels must"):
        diagnose(drawn()[0], labels)


@given(st.integers(20, 300), st.integers(0, 12))
def test_a_temperature_on_few_errors_is_doubtful(n: int, errors: int) -> None:
    logits = 3 * torch.eye(3)[torch.arange(n) % 3]
    labels = torch.arange(n) % 3
    labels[:errors] = (labels[:errors] + 1) % 3
    values = diagnose(logits, labels)
    few = errors < FEWEST_ERRORS or values["temperature"] in (LOWEST, HIGHEST)
    assert bool(doubt_of(values)) == few
    section = diagnosis_section(
        "p", values, diagnostics.reliability(logits, labels), [0.5], doubt=doubt_of(values)
    )
    (table,) = section.tables
    marked = [row[0] for row in table.rows if DOUBT in str(row[0])]
    assert len(marked) == (3 if few else 0)
    assert (f"{DOUBT}: the temperature" in table.caption) == few


def test_a_doubtful_column_is_marked_and_explained() -> None:
    columns = (Column(name="Method"), Column(name="NLL, scaled", doubt="Two errors."))
    table = Table(
        key="k", title="t", caption="", columns=columns, rows=[("a", Measured(1.0, 0.1, 3))]
    )
    assert heading(columns[1]) == f"NLL, scaled {DOUBT}"
    assert note(table) == f"n = 3 seeds. {DOUBT} Two errors."
