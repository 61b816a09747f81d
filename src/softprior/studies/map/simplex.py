"""Three classes as a triangle: prior, posterior and modes; and the limit of a hot teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Dirichlet

from softprior import soft_labels
from softprior.evidence import Figure, Series, curves
from softprior.evidence import Panel as CurvePanel
from softprior.evidence.differences import Interval
from softprior.evidence.palette import COLOURS, INK, MUTED, PAPER
from softprior.matching import teacher_temperature, uniform_smoothing
from softprior.priors import BetaPrior, Prior, TeacherPrior, UniformPrior
from softprior.studies._shared import recipes as shared
from softprior.studies.map.identities import counts_of

SAMPLES = 40
SHOWN = 7  # the seventh least confident of the samples
MASS = (0.9, 0.5)
_STEPS = 80  # of the grid along a side


class Panel(NamedTuple):
    """One method on samples of one label: soft labels (n, 3), and the counts (3,) of one sample."""

    targets: Tensor
    counts: Tensor
    shown: int


def panels() -> dict[str, Panel]:
    """Three methods that take as much from the label on average, asked about the same samples.

    A teacher's logits are drawn; all samples have label 0. The posterior is that of the MAP
    objective (label weight 1), whose mode is the soft label.
    """
    g = torch.Generator().manual_seed(1)
    teacher_logits = torch.randn(SAMPLES, 3, generator=g, dtype=torch.float64) * 1.3
    teacher_logits[:, 0] += 3
    labels = torch.zeros(SAMPLES, dtype=torch.long)
    ε, w = shared.SMOOTHING, shared.WEIGHT
    s = uniform_smoothing(ε, 3)
    T = teacher_temperature(teacher_logits, labels, smoothing=ε, weight=w)
    a = BetaPrior.matching(ε, strength=w).a
    priors: dict[str, Prior] = {
        "label smoothing": UniformPrior(s / (1 - s)),
        "self-distillation": TeacherPrior(w / (1 - w), T),
        "Beta (EMA)": BetaPrior(w / (1 - w), a, draw="quantile"),
    }
    shown = int(teacher_logits.softmax(1)[:, 0].argsort()[SHOWN - 1])
    found = {}
    for name, prior in priors.items():
        counts = counts_of(prior, labels, teacher_logits)
        found[name] = Panel(soft_labels(labels, counts), counts[shown], shown)
    return found


def grid(steps: int = _STEPS) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """Points in a triangle (n, 3), the edges just missed, and the small triangles between them."""
    index: dict[tuple[int, int], int] = {}
    points: list[tuple[int, int, int]] = []
    for i in range(steps + 1):
        for j in range(steps + 1 - i):
            index[i, j] = len(points)
            points.append((i, j, steps - i - j))
    triangles = []
    for i, j in index:
        if i + j < steps:
            triangles.append((index[i, j], index[i + 1, j], index[i, j + 1]))
        if i + j < steps - 1:
            triangles.append((index[i + 1, j], index[i + 1, j + 1], index[i, j + 1]))
    p = torch.tensor(points, dtype=torch.float64) / steps
    return (p + 1e-6) / (1 + 3e-6), triangles


def thresholds(density: Tensor, mass: Sequence[float] = MASS) -> list[float]:
    """The densities above which a region of highest density holds each share of all mass."""
    falling = density.sort(descending=True).values
    share = falling.cumsum(0) / falling.sum()
    last = len(falling) - 1
    return [falling[min(int((share < m).sum()), last)].item() for m in mass]


def plane(p: Tensor) -> tuple[list[float], list[float]]:
    """Probabilities (n, 3) as points of a triangle of side 1, class 0 on top."""
    p = p.reshape(-1, 3)
    return (p[:, 2] + p[:, 0] / 2).tolist(), (math.sqrt(3) / 2 * p[:, 0]).tolist()


def simplices() -> Figure:
    """A triangle for each method."""
    found = panels()

    def draw(axes: Sequence[Any]) -> None:
        for ax, (name, panel) in zip(axes, found.items(), strict=True):
            _triangle(ax, panel, COLOURS[name])
            ax.set_title(name.replace(" (EMA)", " smoothing"))

    return Figure(
        key="simplex",
        title="Prior, posterior and their modes for three classes",
        caption="Each point of a triangle is a prediction; the top corner is the label with "
        "probability 1. For one sample: the Dirichlet prior (dashed) and the posterior after its "
        "one real label (solid), regions with 50 % and 90 % of the mass; the prior's mode (ring) "
        "and the posterior's (large dot), the soft label, on the line from the ring to the label. "
        f"Small dots: soft labels of {SAMPLES} samples of this label, by a teacher whose logits "
        f"are drawn. All methods take {shared.SMOOTHING:.0%} from the label on average: label "
        "smoothing from every sample alike, Beta smoothing by rank, towards the centre, and "
        "self-distillation by sample and class.",
        alt="Three triangles. With label smoothing all soft labels are one point, with Beta "
        "smoothing they lie on the line from the label to the centre, with self-distillation they "
        "spread over the area near the label.",
        draw=draw,
        data={
            name: {
                "soft_labels": panel.targets,
                "shown": panel.shown,
                "prior_mode": panel.counts / panel.counts.sum(),
                "posterior_mode": panel.targets[panel.shown],
                "counts": panel.counts,
            }
            for name, panel in found.items()
        },
        panels=len(found),
        size=(8.4, 2.9),
    )


def _triangle(ax: Any, panel: Panel, shade: str) -> None:
    corners = torch.eye(3)[[0, 1, 2, 0]]
    ax.plot(*plane(corners), color=MUTED, linewidth=1)
    p, triangles = grid()
    x, y = plane(p)
    onehot = torch.eye(3, dtype=torch.float64)[0]
    for α, ink, style in (
        (1 + panel.counts, MUTED, "dashed"),
        (1 + panel.counts + onehot, shade, "solid"),
    ):
        dirichlet: Any = Dirichlet(α, validate_args=False)
        density = dirichlet.log_prob(p).exp()
        levels = thresholds(density)
        for level, width in zip(levels, (0.9, 1.4), strict=True):
            if density.min() < level < density.max():  # a flat prior has no inner region
                ax.tricontour(
                    *(x, y, triangles, density.tolist()),
                    levels=[level],
                    colors=[ink],
                    linewidths=width,
                    linestyles=style,
                )
    prior_mode, mode = panel.counts / panel.counts.sum(), panel.targets[panel.shown]
    ax.plot(*plane(torch.stack([prior_mode, onehot])), color=INK, linewidth=0.7)
    ax.plot(*plane(panel.targets), "o", color=shade, markersize=2.6, alpha=0.7)
    ax.plot(*plane(prior_mode), "o", color=INK, markerfacecolor=PAPER, markersize=6.5)
    ax.plot(*plane(mode), "o", color=shade, markeredgecolor=PAPER, markersize=8)
    for text, at, side in (("label", 0, "center"), ("2", 1, "right"), ("3", 2, "left")):
        (cx,), (cy,) = plane(corners[at])
        ax.text(
            cx, cy + (0.03 if at == 0 else -0.02), text, ha=side, va="bottom" if at == 0 else "top"
        )
    ax.set_aspect("equal")
    ax.set_xlim(-0.06, 1.06)
    ax.set_ylim(-0.1, 0.98)
    ax.set_axis_off()


def limit(hot: Mapping[float, float]) -> Figure:
    """How far self-distillation is from label smoothing, by the teacher's temperature."""
    points = [(t, Interval(gap, math.nan, math.nan)) for t, gap in hot.items()]
    curve = Series("self-distillation", COLOURS["self-distillation"], points)
    panel = CurvePanel(
        ylabel="Largest difference, nats",
        xlabel="Teacher's temperature",
        series=[curve],
        log="both",
    )
    return curves(
        "limit",
        "Self-distillation becomes label smoothing",
        [panel],
        caption="Largest difference of the two losses over the samples, at equal strength, both "
        "axes logarithmic: it falls as 1/T.",
        alt="A straight falling line: ten times the temperature, a tenth of the difference.",
        size=(4.6, 2.8),
    )
