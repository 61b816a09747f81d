"""How confident, diverse and calibrated is a model? All diagnostics, from a file.

FILE is .npz with `logits` (or `probs`) and `labels`, or CSV or Parquet with a column `label` and
one column per class: logit_0, logit_1, … or prob_0, prob_1, …

In --json a value that is no finite number is null: JSON has neither infinity nor NaN. The table
tells them apart: a confidence_diversity of −∞ means ties, – that it cannot be computed.
"""

from __future__ import annotations

import json
import math
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from softprior.cli import _kinds
from softprior.cli._parser import Parser

OPTIONAL = _kinds.either([_kinds.NAME, _kinds.NULL])


def options(words: Sequence[str]) -> Namespace:
    """The file, and how to show what was found."""
    parser = Parser("diagnose", __doc__ or "")
    parser.positional("file", _kinds.PATH, ".npz, .csv or .parquet", metavar="FILE")
    parser.flag("json", "print one JSON object: fractions, nats")
    parser.option("html", OPTIONAL, "write a page with the reliability diagram", metavar="PAGE")
    return parser.complete(words)


def run(options: Namespace) -> int:
    """Read, diagnose, show."""
    from softprior import diagnostics
    from softprior.cli._console import console, show_line
    from softprior.diagnostics.temperature import doubt_of
    from softprior.margin import label_margin
    from softprior.predictions import read_predictions
    from softprior.report import render, terminal
    from softprior.report.diagnosis import diagnosis_section
    from softprior.report.results import check_target, replace_text

    command = ["softprior", "diagnose", str(options.file)]
    page = None
    if options.html is not None:
        page = Path(options.html)
        check_target(options.html)
        command += ["--html", options.html]
    logits, labels = read_predictions(options.file)
    values = diagnostics.diagnose(logits, labels)
    if options.json:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        print(json.dumps(finite, allow_nan=False))
    if page is None and options.json:
        return 0
    section = diagnosis_section(
        options.file.name,
        values,
        diagnostics.reliability(logits, labels),
        label_margin(logits.double(), labels).sigmoid(),
        command=shlex.join(command),
        doubt=doubt_of(values),
    )
    out = console(stderr=options.json)
    if not options.json:
        terminal.show([section], out)
    if page is not None:
        replace_text(page, render([section], title=section.title))
        show_line(out, f"page: {page}")
    return 0
