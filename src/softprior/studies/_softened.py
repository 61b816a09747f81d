"""The figure of the temperature study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softprior.studies._drawing import INK, curve_with_band, legend_beside
from softprior.studies._kit import COLOURS, Figure, Measured
from softprior.studies._temperatures import Found

Curve = Mapping[float, Measured]

STUDENTS, TEACHER = "students", "teacher"
SCALED = "students,\nscaled"


def curves(found: Found, generation: int) -> Figure:
    """Accuracy and NLL of the students, uncertainty and diversity of votes and students, over T."""
    best = f"generation {generation},\nat T = 1"
    colours = {
        STUDENTS: COLOURS["self-distillation"],
        SCALED: COLOURS["label smoothing"],
        TEACHER: COLOURS["cross-entropy"],
        best: INK,
    }

    def students(name: str, factor: float = 1.0) -> Curve:
        return {
            t: Measured.of([factor * getattr(s, name) for s in of])
            for t, of in found.students.items()
        }

    def votes(name: str) -> Curve:
        return {t: Measured.of([getattr(v, name) for v in of]) for t, of in found.votes.items()}

    def level(name: str, factor: float = 1.0) -> dict[str, float]:
        return {
            label: Measured.of([factor * getattr(s, name) for s in of]).mean
            for label, of in ((TEACHER, found.teachers), (best, found.generations[generation]))
        }

    panels: list[tuple[str, dict[str, Curve], dict[str, float]]] = [
        ("Test accuracy, %", {STUDENTS: students("accuracy", 100)}, level("accuracy", 100)),
        (
            "Test NLL, nats",
            {STUDENTS: students("nll"), SCALED: students("nll_scaled")},
            level("nll"),
        ),
        (
            "Uncertainty, nats",
            {TEACHER: votes("uncertainty"), STUDENTS: students("uncertainty")},
            {},
        ),
        ("Diversity, nats", {TEACHER: votes("diversity"), STUDENTS: students("diversity")}, {}),
    ]

    def draw(axes: Sequence[Any]) -> None:
        for ax, (ylabel, over, levels) in zip(axes, panels, strict=True):
            for name, curve in over.items():
                curve_with_band(
                    ax,
                    list(curve),
                    [m.mean for m in curve.values()],
                    [m.std for m in curve.values()],
                    colour=colours[name],
                    xlabel="Temperature T of the votes",
                    ylabel=ylabel,
                )
            for name, value in levels.items():
                ax.axhline(value, color=colours[name], linewidth=1.2, dashes=(4, 3))
            ax.set_xscale("log")
            shown = [t for t in over[STUDENTS] if float(t).is_integer()]
            ax.set_xticks(shown, [f"{t:g}" for t in shown])
            ax.minorticks_off()
        for name, colour in colours.items():
            axes[1].plot([], [], color=colour, label=name)
        legend_beside(axes[1])

    return Figure(
        key="curves",
        title="Curves over the temperature",
        caption="Mean over seeds; the band is ± one standard deviation. Dashed: mean of the "
        f"teacher, and of generation {generation}, the best of {len(found.generations)} by "
        "validation accuracy. Lower row, on the training set: the teacher's votes at temperature "
        "T, and the students' own predictions at temperature 1. Scaled: after temperature scaling "
        "on the validation set.",
        alt="Four curves over the temperature, on a log scale: test accuracy and test NLL of the "
        "students, beside the teacher's and the best generation's, and predictive uncertainty and "
        "confidence diversity of the teacher's votes and of the students.",
        draw=draw,
        data={
            ylabel: {
                **{name: {f"{t:g}": m.mean for t, m in c.items()} for name, c in over.items()},
                **levels,
            }
            for ylabel, over, levels in panels
        },
        panels=len(panels),
        size=(6.9, 4.6),
    )
