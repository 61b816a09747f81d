"""Which files a report is: the page and results.json always, the others where they are wanted."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from softprior import checks
from softprior.report.latex import render_latex
from softprior.report.markdown import write_markdown
from softprior.report.page import TITLE, render
from softprior.report.results import Section, replace_text, write_json
from softprior.report.tidy import to_csv

FORMATS = {
    "html": "report.html",
    "markdown": "results.md",
    "latex": "tables.tex",
    "csv": "numbers.csv",
}


def write_report(
    folder: Path,
    sections: Sequence[Section],
    title: str = TITLE,
    formats: Collection[str] = (),
) -> Path:
    """Write the report into ``folder`` and return the page's path.

    ``report.html`` and ``results.json`` are always written. The files of the other
    ``formats`` are, too, and so is each that is in the folder already: it must not tell of
    other runs than the page beside it. Raises ValueError for a format that is not known.
    """
    for name in formats:
        checks.choice("format", name, FORMATS)
    wanted = {n for n, file in FORMATS.items() if n in formats or (folder / file).is_file()}
    command = shlex.join(["softprior", "report", str(folder), "--formats", ""]).removesuffix("''")
    page = render(sections, title=title)  # before anything is written: all or nothing
    texts = {"html": page}
    if "latex" in wanted:
        texts["latex"] = render_latex(sections, f"{command}latex")
    if "csv" in wanted:
        texts["csv"] = to_csv(sections)
    if "markdown" in wanted:
        write_markdown(folder / FORMATS["markdown"], sections, f"{command}markdown")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", sections)
    for name, text in texts.items():
        replace_text(folder / FORMATS[name], text)
    return folder / FORMATS["html"]
