"""Evidence: scores by method and seed, and what is made of them. Knows no run and no study.

A :class:`Comparison` holds the scores; tables, curves, differences and claims come from it.
"""

from softprior.evidence.claims import Claim, Verdict
from softprior.evidence.comparison import Comparison
from softprior.evidence.curve_figure import Panel, Series, curves
from softprior.evidence.differences import Difference
from softprior.evidence.figure import Figure
from softprior.evidence.forest_figure import forest
from softprior.evidence.results import Method, Result
from softprior.evidence.tables import Cell, Column, Measured, Table

__all__ = [
    "Cell",
    "Claim",
    "Column",
    "Comparison",
    "Difference",
    "Figure",
    "Measured",
    "Method",
    "Panel",
    "Result",
    "Series",
    "Table",
    "Verdict",
    "curves",
    "forest",
]
