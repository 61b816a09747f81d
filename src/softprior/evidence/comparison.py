"""Comparison: what a study compares, by method and seed, and the ways to show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np

from softprior.evidence import claims
from softprior.evidence.claims import Claim, Differences, Direction
from softprior.evidence.curve_figure import Level, Panel, Series
from softprior.evidence.differences import Array, Difference, Interval
from softprior.evidence.results import Method, Result, Results
from softprior.evidence.statistics import t_interval
from softprior.evidence.tables import Column, Measured, Table, notes

Reference: TypeAlias = Method | Callable[[Method], Method]  # one for all, or each its own


@dataclass(frozen=True)
class Comparison:
    """The scores of methods over matched seeds.

    Attributes:
        results: by method, in the order of tables, then by seed; every method has every seed.
        columns: by score: how it is shown, and measured.
    """

    results: Results
    columns: Mapping[str, Column]

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

    @property
    def about(self) -> str:
        """For captions: which part of the data and which epoch the scores are of."""
        names: dict[str, list[str]] = {}
        for column in self.columns.values():
            if column.about:
                names.setdefault(column.about, []).append(column.name)
        if len(names) < 2:
            return next(iter(names), "")
        return " ".join(f"{', '.join(of)}: {a[:1].lower()}{a[1:]}" for a, of in names.items())

    @property
    def covered(self) -> str:
        """What the intervals of differences cover, for captions."""
        known = [[r.blocks for r in of.values()] for of in self.results.values()]
        both = [n for n in self.columns if all(n in blocks for of in known for blocks in of)]
        rest = [self.columns[n].name for n in self.columns if n not in both]
        if not both:
            covers = "Each interval covers other seeds (t)."
        else:
            covers = (
                "Each interval covers other seeds and other test images (t, with Satterthwaite's "
                "degrees of freedom)"
            ) + (f"; of {', '.join(rest)} other seeds alone." if rest else ".")
        return f"{covers} Each stands by itself: one of twenty would miss."

    def where(self, **facts: Any) -> list[Method]:
        """The methods of which all these facts are true."""
        return [m for m in self.methods if facts.items() <= m.facts.items()]

    def the(self, **facts: Any) -> Method:
        """The one method of which all these facts are true."""
        found = self.where(**facts)
        if len(found) != 1:
            raise ValueError(f"{len(found)} methods with {facts}, wanted one: {self.methods}")
        return found[0]

    def without(self, *methods: Method) -> list[Method]:
        """The other methods."""
        return [m for m in self.methods if m not in methods]

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
            results = [self.results[m][seed] for m in of]
            return Result(
                {name: fmean(r.scores[name] for r in results) for name in self.columns},
                _each(results, lambda *blocks: np.mean(blocks, axis=0)),
            )

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
        """``method`` minus ``reference``, seed by seed, and image by image where it is of those."""
        return self.contrast({method: 1.0, reference: -1.0} if method != reference else {}, score)

    def contrast(self, weights: Mapping[Method, float], score: str) -> Difference:
        """``Σ_m weight_m · score_m``, seed by seed and image by image, as :meth:`gap`.

        Such as the mean of some methods minus another, or a slope over what methods differ in.
        """
        values, blocks = np.zeros(len(self.seeds)), []
        for method, weight in weights.items():
            values = values + weight * np.asarray(self.values(method, score))
            blocks.append(weight * self._blocks(method, score))
        if blocks and blocks[0].size and len({block.shape for block in blocks}) == 1:
            return Difference.crossed(float(values.mean()), np.sum(blocks, axis=0))
        return Difference.over_seeds(values, np.zeros_like(values))

    def slope(self, methods: Iterable[Method], over: str, score: str) -> Difference:
        """By how much a score rises with a fact of the methods: least squares, seed by seed."""
        methods = list(methods)
        x = np.asarray([float(m[over]) for m in methods])
        x -= x.mean()
        return self.contrast(dict(zip(methods, x / (x**2).sum(), strict=True)), score)

    def _blocks(self, method: Method, score: str) -> Array:
        """By seed and block of test images; empty where images have no part in the score."""
        rows = [result.blocks.get(score) for result in self.results[method].values()]
        known = [row for row in rows if row is not None]
        alike = len(known) == len(rows) and len({len(row) for row in known}) == 1
        return np.asarray(known) if alike else np.empty((0, 0))

    def relative_to(self, reference: Reference) -> Comparison:
        """Every score minus that of the reference, seed by seed: gaps of it are gaps of gaps."""
        partner = own_partner(reference)

        def minus(method: Method, seed: int) -> Result:
            ours, theirs = (self.results[m][seed] for m in (method, partner(method)))
            return Result(
                {name: ours.scores[name] - theirs.scores[name] for name in self.columns},
                _each([ours, theirs], np.subtract),
            )

        return replace(
            self, results={m: {s: minus(m, s) for s in self.seeds} for m in self.methods}
        )

    def highest(self, methods: Iterable[Method], score: str, sign: int = 1) -> Method:
        """The method with the highest mean (lowest, where sign is -1); of equal ones the first."""
        return max(methods, key=lambda m: sign * fmean(self.values(m, score)))

    # ------------------------------------------------------------------ claims

    def claim(
        self,
        text: str,
        methods: Iterable[Method],
        reference: Method,
        score: str,
        direction: Direction,
        answers: tuple[str, ...] = (),
    ) -> Claim:
        """A claim that each of the methods is higher, or lower, than the reference."""
        gaps = {m.label: self.gap(m, reference, score) for m in methods}
        return self.claim_gaps(text, gaps, score, direction, answers)

    def claim_gaps(
        self,
        text: str,
        differences: Differences,
        score: str,
        direction: Direction,
        answers: tuple[str, ...] = (),
    ) -> Claim:
        """A claim about any differences in a score, by the names that the evidence gives them."""
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
            caption=sentences(LEVELS, self.about, notes(columns), note),
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
        partner = own_partner(reference)
        columns = list(self.columns.values())
        pairs = [(m, partner(m)) for m in self.methods]
        references = {theirs for _, theirs in pairs}
        return Table(
            key=key,
            title=title,
            caption=sentences(PAIRED, self.covered, self.about, notes(columns), note),
            columns=(Column(name=first), *(facts or {}).values(), *columns),
            rows=[
                (*m.cells(facts), *(self.gap(m, theirs, score) for score in self.columns))
                for m, theirs in pairs
                if m not in references
            ],
        )

    # ------------------------------------------------------------------ curves

    def panel(
        self,
        score: str,
        over: str,
        xlabel: str,
        *,
        reference: Callable[[Method], Method] | None = None,
        series: Callable[[Method], str] = lambda method: method.label,
        x: Callable[[float], float] = lambda value: value,
        **options: Any,
    ) -> Panel:
        """A score over a fact.

        Args:
            over: the fact; what lacks it is a level.
            reference: draw paired differences to each method's own reference instead.
            series: the curve, or level, that a method belongs to.
            x: where a value of the fact stands.
            options: of the :class:`.Panel`.
        """
        column = self.columns[score]
        found: dict[str, Series] = {}
        levels: list[Level] = []
        for method in self.methods:
            if reference is None:
                interval = t_interval(self.values(method, score))
            elif method != (theirs := reference(method)):
                interval = self.gap(method, theirs, score).interval
            else:
                continue
            interval = Interval(*(column.factor * value for value in interval))
            name = series(method)
            if over in method.facts:
                curve = found.setdefault(name, Series(name, method.colour, []))
                curve.points.append((x(method[over]), interval))
            else:
                levels.append(Level(name, method.colour, interval))
        for curve in found.values():
            curve.points.sort()
        return Panel(
            ylabel=column.axis if reference is None else column.gap_axis,
            xlabel=xlabel,
            series=list(found.values()),
            levels=levels,
            zero=reference is not None,
            **options,
        )


def _each(results: Sequence[Result], combine: Callable[..., Array]) -> dict[str, Array]:
    """The blocks of several results as one's, for the scores of which all have them."""
    first, *others = (result.blocks for result in results)
    return {
        name: combine(of, *(other[name] for other in others))
        for name, of in first.items()
        if all(name in other for other in others)
    }


def own_partner(reference: Reference) -> Callable[[Method], Method]:
    """What each method is compared with."""
    return reference if callable(reference) else lambda method: reference


LEVELS = "Mean ± standard deviation over seeds."
PAIRED = (
    "Mean difference over seeds with its 95 % interval; the two runs of a seed have the same "
    "split, order of samples and initialisation."
)


def sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)
