"""The methods' colours in the dark theme: made from those of the light one, so none is forgotten.

Every colour keeps its hue, and its lightness is turned around: near-black becomes near-white,
as ink does. Two colours that are apart on light paper so stay apart on dark paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from softprior.evidence.palette import COLOURS

Triple: TypeAlias = tuple[float, ...]
# OKLab (Björn Ottosson, 2020): linear sRGB → cone responses; their cube roots → L, a, b.
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_FROM_CONES = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
_FROM_LAB = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_SUM, _SLOPE = 1.2, 0.85  # of the two lightnesses: light enough on dark paper, none quite white


def hues() -> str:
    """CSS that gives ``--hue-rrggbb`` to every colour of ``COLOURS`` where the theme is dark."""
    lines = sorted({f"--hue-{c.lower()[1:]}: {dark(c)};" for c in COLOURS.values()})
    return f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {' '.join(lines)} }} }}\n"


def dark(colour: str) -> str:
    """``colour`` (``#rrggbb``) for dark paper: of OKLab's lightness L, 1.2 - 0.85 L.

    As much of its chroma is kept as sRGB can show at that lightness.
    """
    lightness, a, b = oklab(colour)
    for kept in range(20, -1, -1):
        lab = (_SUM - _SLOPE * lightness, a * kept / 20, b * kept / 20)
        linear = _times(_FROM_CONES, [v**3 for v in _times(_FROM_LAB, lab)])
        if all(-1e-6 <= v <= 1 for v in linear):
            break
    return "#" + "".join(f"{round(255 * _encoded(v)):02x}" for v in linear)


def oklab(colour: str) -> Triple:
    """L, a and b of ``#rrggbb``: equal distances look about equally far apart."""
    return _times(_TO_LAB, [v ** (1 / 3) for v in _times(_TO_CONES, _linear(colour))])


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours ``#rrggbb``, from 1 to 21 (WCAG 2.1).

    (Y₁ + 0.05) / (Y₂ + 0.05) with the relative luminances Y₁ ≥ Y₂.
    """
    weights = (0.2126, 0.7152, 0.0722)
    low, high = sorted(sum(_times([weights], _linear(c))) for c in (first, second))
    return (high + 0.05) / (low + 0.05)


def _linear(colour: str) -> Triple:
    """The channels of ``#rrggbb`` as intensities from 0 to 1 (sRGB)."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels)


def _encoded(value: float) -> float:
    value = max(value, 0.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _times(matrix: Sequence[Triple], vector: Sequence[float]) -> Triple:
    return tuple(sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix)
