"""A figure as inline SVG that follows the page's theme, or as files for documents."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import matplotlib
import matplotlib.style
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from softprior.evidence.figure import Figure
from softprior.evidence.palette import COLOURS, GRID, INK, MUTED, PAPER

_PIXELS = 96  # CSS pixels to the inch
_NARROWEST_PANEL = 1.75  # inches
_LEGIBLE = 0.8  # below this share of its natural size a figure scrolls instead of shrinking

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=list(COLOURS.values())),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.07,  # inches: a title is not to touch what is above it
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.color": MUTED,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "pdf.fonttype": 42,  # TrueType: many journals refuse matplotlib's own choice, Type 3
    "svg.fonttype": "none",  # text stays text: selectable, and in the reader's font
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
}

# Colours that change with the theme: drawn as the light theme's, written as CSS variables.
_THEME = {
    **{colour.lower(): f"var(--hue-{colour.lower()[1:]}, {colour})" for colour in COLOURS.values()},
    **dict.fromkeys((INK, "#000000"), f"var(--ink, {INK})"),
    **dict.fromkeys((PAPER, "#ffffff"), f"var(--paper, {PAPER})"),
    MUTED: f"var(--muted, {MUTED})",
    GRID: f"var(--grid, {GRID})",
}


def svg(figure: Figure, prefix: str = "") -> str:
    """The figure as one ``<svg>`` element to be put into an HTML page.

    ``prefix`` (its key unless given) opens every id, so that two figures on one page never
    clip or mark each other. The width follows the page, within the bounds of legible text.
    """
    prefix = re.sub(r"[^\w-]", "-", prefix or figure.key)
    buffer = BytesIO()
    with _drawn(figure, salt=prefix) as canvas:
        FigureCanvasSVG(canvas)
        canvas.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _inline(root, prefix)
    _describe(root, figure, prefix)
    return ElementTree.tostring(root, encoding="unicode")


def files(figure: Figure, salt: str) -> dict[str, bytes]:
    """The figure on the light theme's paper by suffix (png, svg, pdf), drawn once.

    ``salt`` goes into the ids of the SVG. The same figure gives the same bytes: nothing tells
    when or by which version it was drawn.
    """
    plain: dict[str, Any] = {"facecolor": PAPER}
    nameless = {"Creator": None, "Producer": None, "CreationDate": None}
    options: dict[str, dict[str, Any]] = {
        "png": {**plain, "dpi": 200, "metadata": {"Software": None}},
        "svg": {**plain, "metadata": {"Date": None, "Creator": None, "Title": figure.title}},
        "pdf": {**plain, "metadata": {**nameless, "Title": figure.title}},
    }
    found = {}
    with _drawn(figure, salt) as canvas:
        FigureCanvasAgg(canvas)
        for suffix, chosen in options.items():
            buffer = BytesIO()
            canvas.savefig(buffer, format=suffix, **chosen)
            found[suffix] = buffer.getvalue()
    return found


@contextmanager
def _drawn(figure: Figure, salt: str) -> Iterator[Canvas]:
    """The figure drawn in the common style, whatever the user's matplotlibrc says."""
    style = {**_STYLE, "svg.hashsalt": salt}  # the same figure gives the same bytes
    with matplotlib.rc_context(), matplotlib.style.context(["default", style]):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        rows, columns = _grid(figure)
        axes = [canvas.add_subplot(rows, columns, i + 1) for i in range(figure.panels)]
        figure.draw(axes)
        yield canvas


def _grid(figure: Figure) -> tuple[int, int]:
    """As many panels side by side as are not too narrow, in rows of about equal length."""
    most = max(1, int(figure.size[0] / _NARROWEST_PANEL))
    rows = math.ceil(figure.panels / most)
    return rows, math.ceil(figure.panels / rows)


def _inline(root: ElementTree.Element, prefix: str) -> None:
    """Leave what an HTML page needs: own ids, theme colours, no namespace, no page-wide style."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            element.set(name.rpartition("}")[2], _attribute(name.rpartition("}")[2], value, prefix))


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href" and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    if name in ("clip-path", "style", "fill", "stroke"):
        value = value.replace("url(#", f"url(#{prefix}-")
        value = re.sub(r"#[0-9a-fA-F]{6}\b(?!-)", _themed, value)
        value = re.sub(r"font: ([^;]*?[\d.]+px)[^;]*", r"font: \1 var(--sans, sans-serif)", value)
    return value


def _themed(match: re.Match[str]) -> str:
    return _THEME.get(match[0].lower(), match[0])


def _describe(root: ElementTree.Element, figure: Figure, prefix: str) -> None:
    """Name and description for screen readers; a size that keeps the text readable."""
    width = figure.size[0] * _PIXELS
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
        "style": f"width: 100%; max-width: {width:.0f}px; min-width: {_LEGIBLE * width:.0f}px; "
        f"height: auto; fill: var(--ink, {INK}); stroke-linejoin: round; stroke-linecap: butt",
    }
    for at, (tag, text) in enumerate((("title", figure.title), ("desc", figure.alt))):
        element = ElementTree.Element(tag, id=f"{prefix}-{tag}")
        element.text = text
        root.insert(at, element)
