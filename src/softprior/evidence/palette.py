"""Colours of the figures: the light theme's, which the page turns for the dark one.

Whatever is drawn in one of these follows the reader's theme on the page; any other colour stays
as it is.
"""

from __future__ import annotations

INK = "#1b1f24"
MUTED = "#59626d"
GRID = "#dde2e8"
PAPER = "#fdfdfd"

# The Okabe-Ito palette and beyond it: each with a contrast of 3 : 1 on the page's paper (so no
# yellow, and its orange darker), and as far apart as ten such can be for the colour-blind.
GREY = "#7f7f7f"
COLOURS = {
    "cross-entropy": GREY,
    "label smoothing": "#0072B2",
    "Beta (EMA)": "#D55E00",
    "Beta (memory)": "#7A5200",
    "self-distillation": "#009E73",
    "Beta (own logits)": "#3F97D6",
    "Beta (running)": "#C9689F",
    "Beta (random order)": "#2B1A20",
    "Beta (reversed order)": "#4A4FD0",
    "confidence penalty": "#7B2D6B",
}
