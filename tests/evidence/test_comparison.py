"""Comparison: paired by seed, shown alike everywhere, and image by image."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprior import diagnostics
from softprior.evidence import (
    Column,
    Comparison,
    Difference,
    Measured,
    Method,
    Result,
    blocks,
    curves,
    forest,
)
from softprior.evidence.comparison import PAIRED
from softprior.evidence.curve_figure import Level, Panel, Series
from softprior.evidence.differences import Interval
from softprior.studies._shared.scores import TEST, compare
from softprior.training import Recipe, Run

A, B, C = Method("a", "#111111", {"x": 1}), Method("b", "#222222", {"x": 2}), Method("c")
ABOUT = "Test set; the last epoch."
COLUMNS = {
    "accuracy": Column(name="Accuracy", percent=True, about=ABOUT),
    "nll": Column(name="NLL", unit="nats"),
}


def comparison(**rows: list[float]) -> Comparison:
    """Methods a, b and c; NLL is 1 - accuracy."""
    results = {
        {"a": A, "b": B, "c": C}[name]: {
            seed: Result({"accuracy": v, "nll": 1 - v}) for seed, v in enumerate(values)
        }
        for name, values in rows.items()
    }
    return Comparison(results, COLUMNS)


values = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


@given(values, values, values)
def test_gaps_are_antisymmetric_and_add_up(a: list[float], b: list[float], c: list[float]) -> None:
    found = comparison(a=a, b=b, c=c)
    there, back = found.gap(A, B, "accuracy"), found.gap(B, A, "accuracy")
    assert there.mean == pytest.approx(-back.mean, abs=1e-9)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    onward = found.gap(B, C, "accuracy").mean
    assert there.mean + onward == pytest.approx(found.gap(A, C, "accuracy").mean, abs=1e-9)
    assert there == Difference.over_seeds(a, b)
    merged = found.averaged({Method("mean"): [A, B]})
    mean = merged.values(merged.methods[0], "accuracy")
    assert mean == pytest.approx([(x + y) / 2 for x, y in zip(a, b, strict=True)], abs=1e-12)


@given(values, values, values)
def test_gaps_of_gaps(a: list[float], b: list[float], c: list[float]) -> None:
    """Relative to a reference, gaps are those of before less the references' own."""
    found = comparison(a=a, b=b, c=c)
    plain = found.relative_to(C)
    assert plain.values(C, "accuracy") == [0, 0, 0]
    assert plain.gap(A, B, "nll").mean == pytest.approx(found.gap(A, B, "nll").mean, abs=1e-9)
    own = found.relative_to(lambda method: C if method == A else A)
    wanted = [(x - z) - (y - x) for x, y, z in zip(a, b, c, strict=True)]
    assert own.gap(A, B, "accuracy").mean == pytest.approx(sum(wanted) / 3, abs=1e-9)


@given(values, values, values)
def test_a_contrast_is_the_sum_and_a_slope_that_of_least_squares(
    a: list[float], b: list[float], c: list[float]
) -> None:
    found = comparison(a=a, b=b, c=c)
    mean = found.contrast({A: 0.5, B: 0.5, C: -1.0}, "accuracy")
    wanted = [(x + y) / 2 - z for x, y, z in zip(a, b, c, strict=True)]
    assert mean.mean == pytest.approx(sum(wanted) / 3, abs=1e-9)
    assert found.slope([A, B], "x", "nll").mean == pytest.approx(
        found.gap(B, A, "nll").mean, abs=1e-9
    )
    assert found.gap(A, A, "nll").bounds() == (0, 0)


def test_seeds_must_match() -> None:
    results = {A: {0: Result({"accuracy": 1.0})}, B: {1: Result({"accuracy": 1.0})}}
    with pytest.raises(ValueError, match=r"b has seeds \[1\], and a \[0\]: differences are paired"):
        Comparison(results, COLUMNS)


def test_methods_are_found_by_their_facts() -> None:
    found = comparison(a=[1, 2], b=[3, 4], c=[5, 6])
    assert found.where(x=1) == [A]
    assert found.the(x=2) == B
    with pytest.raises(ValueError, match=r"0 methods with \{'x': 3\}, wanted one"):
        found.the(x=3)
    assert Method("a", "#111111", {"x": 1}) == A
    assert A.but(x=2) != A
    assert len({A, A.but(x=2), Method("a", "#111111", {"x": 1})}) == 2


def test_tables_hold_what_the_comparison_says() -> None:
    found = comparison(a=[0.1, 0.2], b=[0.3, 0.5], c=[0.5, 0.9])
    levels = found.levels("k", "T", facts={"x": Column(name="X")}, note="Noted.")
    assert levels.rows[0][:3] == ("a", 1, Measured.of([0.1, 0.2]))
    assert levels.rows[2][:2] == ("c", "–")
    assert levels.caption.endswith("over seeds. Test set; the last epoch. Noted.")
    gaps = found.differences("k", "T", A)
    assert [row[0] for row in gaps.rows] == ["b", "c"]
    assert gaps.rows[1][2] == found.gap(C, A, "nll")
    assert gaps.caption.startswith(PAIRED)
    own = found.differences("k", "T", lambda m: A if m == B else C)
    assert [(row[0], row[1]) for row in own.rows] == [("b", found.gap(B, A, "accuracy"))]


# --- image by image --------------------------------------------------------------------------


class FakeRun(Run):
    def predictions(self, part: str, epoch: str | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        g = torch.Generator().manual_seed(self.recipe.seed)
        logits = 2 * torch.randn(60, 4, generator=g)
        return logits, torch.multinomial(logits.softmax(1), 1, generator=g).flatten()


def test_a_caption_says_which_score_is_of_which_part_of_the_data() -> None:
    """One sentence where all are of the same; else each names its scores."""
    test, train = "Test set; the last epoch.", "Training set; the last epoch."

    def about(*parts: str) -> str:
        columns = {
            name: Column(name=name, about=part) for name, part in zip("ABC", parts, strict=True)
        }
        return Comparison(results={}, columns=columns).about

    assert about(test, test, test) == test
    assert about("", "", "") == ""
    assert about(test, train, test) == (
        "A, C: test set; the last epoch. B: training set; the last epoch."
    )


def test_scores_of_the_test_set_are_made_of_their_images() -> None:
    """Of the mean of an image's blocks and of what their differences say, against leaving out."""
    runs = [FakeRun(Recipe(seed=seed), Path()) for seed in range(3)]
    found = compare({A: runs, B: runs})
    for run, result in zip(runs, found.results[A].values(), strict=True):
        assert result.blocks.keys() == TEST.keys()
        logits, labels = run.predictions("test")
        for name, score in TEST.items():
            t = diagnostics.fit_temperature(*run.predictions("validation")) if score.scaled else 1
            of, t = score.function, float(t)
            slow = blocks.of_function(
                lambda rows, of=of, t=t, f=logits, y=labels: of(f[rows] / t, y[rows]), len(labels)
            )
            assert result.blocks[name] == pytest.approx(slow, rel=1e-4, abs=1e-4)
    gap = found.gap(A, B, "ece")
    assert (gap.mean, gap.se) == (0, 0)
    assert "other test images" in found.covered
    half = found.averaged({Method("mean"): [A, B]}).relative_to(Method("mean"))
    assert half.results[Method("mean")][0].blocks["nll"] == pytest.approx(0)


# --- drawing ---------------------------------------------------------------------------------

figure = pytest.importorskip("matplotlib.figure")


def test_panels_hold_the_numbers_of_the_comparison() -> None:
    found = comparison(a=[0.1, 0.2], c=[0.5, 0.9])
    panel = found.panel("accuracy", "x", "X")
    (curve,), (level,) = panel.series, panel.levels
    assert (curve.label, curve.points[0][0], level.label) == ("a", 1, "c")
    assert curve.points[0][1].value == pytest.approx(15)  # percent
    assert (panel.ylabel, panel.zero) == ("Accuracy, %", False)
    gaps = found.panel("nll", "x", "X", reference=lambda m: C)
    assert gaps.ylabel == "Δ NLL, nats"
    assert gaps.zero
    assert [c.label for c in gaps.series] == ["a"]
    assert gaps.levels == []
    assert gaps.series[0].points[0][1] == found.gap(A, C, "nll").interval


def test_curves_draw_each_point_at_its_place() -> None:
    nan = math.nan
    curve = Series("a", "#111111", [(0, Interval(1, 0, 2)), (1, Interval(2, nan, nan))])
    diamond = Series("b", "#222222", [(0.5, Interval(3, nan, nan))])
    level = Level("c", "#333333", Interval(4, 3, 5))
    panel = Panel(ylabel="Y", xlabel="X", series=[curve, diamond], levels=[level])
    drawing = curves("k", "K", [panel], caption="C.", alt="A", size=(4, 3))
    ax = figure.Figure(layout="constrained").add_subplot()
    drawing.draw([ax])
    found = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert found["a"] == [[0, 1], [1, 2]]
    assert found["b"] == [[0.5, 3]]
    assert [y for _, y in found["c"]] == [4, 4]
    assert drawing.data["Y"]["a"]["0"] == [1, 0, 2]
    assert "95 % intervals" in drawing.caption
    (legend,) = ax.figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == ["a", "b", "c"]
    plain = curves("k", "K", [Panel(ylabel="Y", xlabel="X", series=[diamond])],
                   caption="C.", alt="A", size=(4, 3))  # fmt: skip
    assert plain.caption == "C."


def test_series_of_one_colour_differ_in_their_lines() -> None:
    points = [(0.0, Interval(1, 0, 2)), (1.0, Interval(2, 1, 3))]
    same = [Series(name, "#111111", points) for name in "ab"]
    other = Series("c", "#222222", points)
    panel = Panel(ylabel="Y", xlabel="X", series=[*same, other])
    ax = figure.Figure(layout="constrained").add_subplot()
    curves("k", "K", [panel], caption="", alt="", size=(4, 3), bars=True).draw([ax])
    styles = [container.lines[0].get_linestyle() for container in ax.containers]
    assert styles[0] != styles[1]
    assert styles[2] == styles[0]


def test_forest_draws_each_difference_at_its_place() -> None:
    found = comparison(a=[0.9, 0.8], b=[0.8, 0.8], c=[0.82, 0.82])
    drawing = forest("f", "F", found, {"against b": (B, [A, C])}, ["accuracy"])
    ax = figure.Figure().add_subplot()
    drawing.draw([ax])
    points = {line.get_ydata()[0]: line.get_xdata()[0] for line in ax.lines[1:]}
    assert points == {1: pytest.approx(5), 2: pytest.approx(2)}  # in points, under the heading
    bars = [c.get_segments()[0][:, 0].tolist() for c in ax.collections]
    gap = found.gap(A, B, "accuracy")
    assert bars[0] == pytest.approx([100 * gap.low, 100 * gap.high])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["against b", "a", "c"]
    lone = comparison(a=[0.9], b=[0.8])
    ax = figure.Figure().add_subplot()
    forest("f", "F", lone, {"against b": (B, [A])}, ["accuracy"]).draw([ax])
    assert not ax.collections  # no bar where there is no interval
