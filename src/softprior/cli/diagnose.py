"""How confident, diverse and calibrated is a model? All diagnostics, from a file.

FILE is .npz with `logits` (or `probs`) and `labels`, or CSV or Parquet with a column `label` and
one column per class: logit_0, logit_1, … or prob_0, prob_1, …
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from softprior import diagnostics
from softprior.cli.predictions import read_predictions
from softprior.margin import label_margin
from softprior.report import render, terminal
from softprior.report.diagnosis import diagnosis_section
from softprior.report.results import replace_text


def arguments(parser: ArgumentParser) -> None:
    """The file, and how to show what was found."""
    parser.add_argument("file", type=Path, metavar="FILE", help=".npz, .csv or .parquet")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object: fractions, nats"
    )
    parser.add_argument(
        "--html", type=Path | None, help="write a page with the reliability diagram"
    )


def run(options: Namespace) -> int:
    """Read, diagnose, show."""
    logits, labels = read_predictions(options.file)
    # JSON has no infinity: a diversity of -inf (all confidences tied) is written as null.
    values = {
        name: value if math.isfinite(value) else None
        for name, value in diagnostics.diagnose(logits, labels).items()
    }
    if options.json:
        print(json.dumps(values, allow_nan=False))
    if options.html is None and options.json:
        return 0
    section = diagnosis_section(
        options.file.name,
        values,
        diagnostics.reliability(logits, labels),
        label_margin(logits.double(), labels).sigmoid(),
        command=f"softprior diagnose {options.file.name}",
    )
    console = Console(stderr=options.json)
    if not options.json:
        terminal.show([section], console)
    if options.html is not None:
        replace_text(options.html, render([section], title=f"Diagnosis of {options.file.name}"))
        console.print(f"page: {options.html}", soft_wrap=True, highlight=False)
    return 0
