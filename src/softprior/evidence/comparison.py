"""Comparison: what a study compares, by method and seed, and the ways to show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeAlias

from softprior.evidence import claims
from softprior.evidence.claims import Claim, Differences, Direction
from softprior.evidence.curve_figure import Level, Panel, Series
from softprior.evidence.results import Method, Result, Results
from softprior.evidence.statistics import Interval, t_interval
from softprior.evidence.tables import INTERVALS, Cell, Column, Difference, Measured, Table, notes

Reference: TypeAlias = Method | Callable[[Method], Method]  # one for all, or each its own


@dataclass(frozen=True)
class Comparison:
    """The scores of methods over matched seeds.

    Attributes:
        results: by method, in the order of tables, then by seed; every method has every seed.
        columns: by score: how it is shown, and measured.
        about: what was measured, for captions: which part of the data, which epoch.
    """

    results: Results
    columns: Mapping[str, Column]
    about: str

    def __post_init__(self) -> None:
        for method, of in self.results.items():
            if list(of) != self.seeds:
                raise ValueError(
                    f"{method.label} has seeds {list(of)}, and {self.methods[0].label} "
                    f"{self.seeds}: differences are paired seed by seed"
                )

    # ------------------------------------------------------------------ what is in it

    @property
    def methods(self) -> list[Method]:
        return list(self.results)

    @property
    def seeds(self) -> list[int]:
        return list(next(iter(self.results.values()))) if self.results else []

    def where(self, **facts: Any) -> list[Method]:
        """The methods of which all these facts are true."""
        return [m for m in self.methods if facts.items() <= m.facts.items()]

    def the(self, **facts: Any) -> Method:
        """The one method of which all these facts are true."""
        found = self.where(**facts)
        if len(found) != 1:
            raise ValueError(f"{len(found)} methods with {facts}, wanted one: {self.methods}")
        return found[0]

    def only(self, methods: Iterable[Method], scores: Iterable[str] | None = None) -> Comparison:
        """Some of the methods, and of the scores."""
        names = list(self.columns if scores is None else scores)
        return replace(
            self,
            results={m: self.results[m] for m in methods},
            columns={name: self.columns[name] for name in names},
        )

    def and_also(self, more: Results) -> Comparison:
        """With methods whose scores were made of others'."""
        return replace(self, results={**self.results, **more})

    def averaged(self, groups: Mapping[Method, Sequence[Method]]) -> Comparison:
        """Methods that are the mean of several, seed by seed."""

        def mean(of: Sequence[Method], seed: int) -> Result:
            results = [self.results[m][seed].scores for m in of]
            return Result({name: fmean(r[name] for r in results) for name in self.columns})

        return replace(
            self, results={m: {s: mean(of, s) for s in self.seeds} for m, of in groups.items()}
        )

    def values(self, method: Method, score: str) -> list[float]:
        """One score of every seed."""
        return [result.scores[score] for result in self.results[method].values()]

    def measured(self, method: Method, score: str) -> Measured:
        """Mean and standard deviation over seeds."""
        return Measured.of(self.values(method, score))

    def gap(self, method: Method, reference: Method, score: str) -> Difference:
        """``method`` minus ``reference``, seed by seed."""
        return Difference.paired(self.values(method, score), self.values(reference, score))

    def gaps(self, methods: Iterable[Method], reference: Method, score: str) -> Differences:
        """Each of the methods minus the reference, by label."""
        return {m.label: self.gap(m, reference, score) for m in methods}

    # ------------------------------------------------------------------ claims

    def claim(
        self,
        text: str,
        differences: Differences,
        score: str,
        direction: Direction,
        answers: tuple[str, ...] = (),
    ) -> Claim:
        """A claim about differences in a score: see :func:`softprior.evidence.claims.claim`."""
        return claims.claim(text, differences, direction, self.columns[score], answers)

    # ------------------------------------------------------------------ tables

    def levels(
        self,
        key: str,
        title: str,
        *,
        first: str = "Method",
        facts: Mapping[str, Column] | None = None,
        note: str = "",
    ) -> Table:
        """The scores of each method; ``facts`` are those, by name, that have a column."""
        columns = list(self.columns.values())
        return Table(
            key=key,
            title=title,
            caption=_sentences(
                "Mean ± standard deviation over seeds.", self.about, notes(columns), note
            ),
            columns=(Column(name=first), *(facts or {}).values(), *columns),
            rows=[
                (*m.cells(facts), *(self.measured(m, score) for score in self.columns))
                for m in self.methods
            ],
        )

    def differences(
        self,
        key: str,
        title: str,
        reference: Reference,
        *,
        first: str = "Method",
        facts: Mapping[str, Column] | None = None,
        note: str = "",
    ) -> Table:
        """Every other method minus the reference, or minus the reference of its own."""
        partner = reference if callable(reference) else (lambda method: reference)
        columns = list(self.columns.values())
        pairs = [(m, partner(m)) for m in self.methods]
        references = {theirs for _, theirs in pairs}
        return Table(
            key=key,
            title=title,
            caption=_sentences(PAIRED, self.about, notes(columns), note, INTERVALS),
            columns=(Column(name=first), *(facts or {}).values(), *columns),
            rows=[
                (*m.cells(facts), *(self.gap(m, theirs, score) for score in self.columns))
                for m, theirs in pairs
                if m not in references
            ],
        )

    def across(
        self,
        key: str,
        title: str,
        score: str,
        headings: Mapping[Any, str],
        fact: str,
        reference: Callable[[Method], bool] | None = None,
        note: str = "",
    ) -> Table:
        """One score of each label, a column for each value of a fact; or its differences to the
        method of which ``reference`` is true, at the same value."""
        column = self.columns[score]
        labels = list(dict.fromkeys(m.label for m in self.methods))

        def at(label: str, value: Any) -> Method:
            return next(m for m in self.where(**{fact: value}) if m.label == label)

        def cell(label: str, value: Any) -> Cell:
            if reference is None:
                return self.measured(at(label, value), score)
            theirs = next(m for m in self.where(**{fact: value}) if reference(m))
            return self.gap(at(label, value), theirs, score)

        shown = [
            label
            for label in labels
            if reference is None or not reference(at(label, next(iter(headings))))
        ]
        how = "Mean ± standard deviation over seeds." if reference is None else PAIRED
        return Table(
            key=key,
            title=title,
            caption=_sentences(
                how, self.about, notes([column]), note, "" if reference is None else INTERVALS
            ),
            columns=(
                Column(name="Method"),
                *(replace(column, name=heading) for heading in headings.values()),
            ),
            rows=[(label, *(cell(label, value) for value in headings)) for label in shown],
        )

    # ------------------------------------------------------------------ curves

    def panel(
        self,
        score: str,
        over: str,
        xlabel: str,
        *,
        reference: Callable[[Method], Method] | None = None,
        x: Callable[[float], float] = lambda value: value,
        **options: Any,
    ) -> Panel:
        """A score over a fact: a curve for each label; what lacks the fact is a level.

        With ``reference`` its paired differences to each method's own reference.
        """
        column = self.columns[score]
        series: dict[str, Series] = {}
        levels: list[Level] = []

        def interval(method: Method) -> Interval:
            if reference is not None:
                found = self.gap(method, reference(method), score).interval
            else:
                found = t_interval(self.values(method, score))
            return Interval(*(column.factor * value for value in found))

        for method in self.methods:
            if reference is not None and method == reference(method):
                continue
            if over not in method.facts:
                levels.append(Level(method.label, method.colour, interval(method)))
                continue
            curve = series.setdefault(method.label, Series(method.label, method.colour, []))
            curve.points.append((x(method[over]), interval(method)))
        for curve in series.values():
            curve.points.sort()
        unit = "points" if column.percent else column.unit
        ylabel = column.axis if reference is None else f"Δ {column.name}, {unit}"
        return Panel(
            ylabel=ylabel,
            xlabel=xlabel,
            series=list(series.values()),
            levels=levels,
            zero=reference is not None,
            **options,
        )


PAIRED = (
    "Mean paired difference over seeds (same split, order and initialisation) with its 95 % t "
    "interval."
)


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)
