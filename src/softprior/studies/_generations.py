"""The figures of the generations study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softprior.studies._chains import About, Chain, gains, teachers
from softprior.studies._drawing import MUTED, curve_with_band, legend_beside
from softprior.studies._kit import COLOURS, Figure, Measured


def curves(
    alone: Sequence[Sequence[Measured]],
    together: Sequence[Sequence[Measured]],
    said: Sequence[Sequence[Measured]],
) -> Figure:
    """Each number over the generations; test scores of the ensemble beside."""
    steps = list(range(1, len(alone) + 1))
    panels = [
        ("Test accuracy, %", 100, {"alone": alone, "ensemble": together}, 0),
        ("Test NLL, nats", 1, {"alone": alone, "ensemble": together}, 1),
        ("Test ECE, %", 100, {"alone": alone, "ensemble": together}, 2),
        ("Uncertainty, nats", 1, {"alone": said}, 0),
        ("Diversity, nats", 1, {"alone": said}, 1),
        ("Training accuracy, %", 100, {"alone": said}, 3),
    ]
    colours = {"alone": COLOURS["self-distillation"], "ensemble": COLOURS["label smoothing"]}
    names = {"alone": "generation k", "ensemble": "ensemble of\n1 to k"}

    def draw(axes: Sequence[Any]) -> None:
        for ax, (label, factor, series, at) in zip(axes, panels, strict=True):
            for name, rows in series.items():
                curve_with_band(
                    ax,
                    steps,
                    [factor * cells[at].mean for cells in rows],
                    [factor * cells[at].std for cells in rows],
                    colour=colours[name],
                    label=names[name],
                    xlabel="Generation k",
                    ylabel=label,
                )
        legend_beside(axes[2])

    return Figure(
        key="curves",
        title="Curves over the generations",
        caption="Mean over seeds; the band is ± one standard deviation. ECE: 20 bins. Lower row: "
        "on the training set.",
        alt="Six curves over the generations: accuracy, NLL and ECE on the test set, of each "
        "generation and of the ensemble up to it; and predictive uncertainty, confidence "
        "diversity and accuracy on the training set.",
        draw=draw,
        data={
            label: {name: [cells[at].mean for cells in rows] for name, rows in series.items()}
            for label, _, series, at in panels
        },
        panels=len(panels),
        size=(6.9, 4.2),
    )


def gains_against(found: Sequence[Chain]) -> Figure:
    """A point for each student: what it gained, against what its teacher says."""
    gained = [100 * g for row in gains(found) for g in row]
    abouts: tuple[About, ...] = ("uncertainty", "diversity")
    votes: dict[str, list[float]] = {
        about: [v for row in teachers(found, about) for v in row] for about in abouts
    }

    def draw(axes: Sequence[Any]) -> None:
        for ax, (name, x) in zip(axes, votes.items(), strict=True):
            ax.scatter(x, gained, s=14, color=COLOURS["self-distillation"], alpha=0.6, linewidth=0)
            ax.axhline(0, color=MUTED, linewidth=0.9, dashes=(4, 3), zorder=0.9)
            ax.set_xlabel(f"Teacher's {name}, nats")
            ax.set_ylabel("Accuracy gain, points")

    return Figure(
        key="gains",
        title="Gain in accuracy against what the teacher says",
        caption="One point per student: its gain in test accuracy on generation 1 of its seed, in "
        "points, against its teacher's predictive uncertainty and confidence diversity on the "
        "training set.",
        alt="Two scatter plots of the students' gains in test accuracy: against the teacher's "
        "predictive uncertainty, and against its confidence diversity.",
        draw=draw,
        data={"gain, points": gained, **votes},
        panels=2,
        size=(6.9, 2.9),
    )
