"""Write the report of each folder again, from its finished runs.

For a folder with studies the report shows these studies; for a folder with single runs, a table of
the runs.

Beside report.html and results.json, --formats writes results.md with figures/ (PNG, SVG, PDF),
tables.tex and numbers.csv. --markdown writes the Markdown as a document of your own; --update
replaces the tables in a document that stand between two marks (here the study smoothing's table
levels_best; results.json has the names):

  <!-- softprior: smoothing/levels_best -->
  <!-- end -->
"""

from __future__ import annotations

import re
import shlex
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from softprior.cli import _kinds
from softprior.cli._parser import Parser


def options(words: Sequence[str]) -> Namespace:
    """The folders, and what to write."""
    parser = Parser("report", __doc__ or "")
    parser.positional("folders", _kinds.PATH, "results folders", metavar="DIR", many=True)
    parser.option(
        "formats",
        _kinds.of(str | None),
        "also write these: markdown, latex, csv, separated by commas; formats that are already in "
        "the folder are always written again",
        metavar="NAMES",
    )
    parser.option(
        "markdown",
        _kinds.of(Path | None),
        "write the Markdown to FILE, and its figures into figures/ beside FILE",
        metavar="FILE",
    )
    parser.option(
        "update", _kinds.of(Path | None), "write the tables marked in FILE again", metavar="FILE"
    )
    parser.option(
        "verify",
        _kinds.of(bool),
        "read every byte of every run in the folders again, also of those that have not changed "
        "by their size and times",
    )
    return parser.complete(words)


def run(options: Namespace) -> int:
    """Rebuild each folder's page, show its tables, and write them where they are wanted.

    Returns 1 where ``--verify`` has found a damaged run.
    """
    from softprior import checks
    from softprior.cli._console import console, show_line
    from softprior.experiment.sections import gather
    from softprior.report import FORMATS, refresh, terminal, write_markdown, write_report
    from softprior.report.results import check_target, replace_text
    from softprior.training import Store

    formats = [] if options.formats is None else options.formats.split(",")
    for name in formats:
        checks.choice("format", name, FORMATS)
    for folder in options.folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder of results")
    for option in ("markdown", "update"):
        if (target := getattr(options, option)) is not None:
            if len(options.folders) > 1:
                raise ValueError(f"--{option} wants one folder, got {len(options.folders)}")
            check_target(target)

    def announce(what: str, path: Path) -> None:
        show_line(console(), f"{what}: {path}")

    damaged = 0
    for folder in options.folders:
        with warnings.catch_warnings():
            if options.verify:
                whole, wrong = Store(folder / "runs").verify()
                damaged += len(wrong)
                for path, why in wrong.items():
                    print(f"softprior: left out: {why}", file=sys.stderr)
                    warnings.filterwarnings("ignore", re.escape(f"run {path} "))  # told once
                print(f"verified: {folder / 'runs'}: {whole} whole, {len(wrong)} not")
            sections = gather(folder)
        if (file := options.update) is not None:
            updated = refresh(file.read_text("utf-8"), sections, str(file))
        terminal.show(sections, console())
        announce("report", write_report(folder, sections, formats=formats))
        if options.markdown is not None:
            words = ("softprior", "report", folder, "--markdown", options.markdown)
            write_markdown(options.markdown, sections, shlex.join(map(str, words)))
            announce("markdown", options.markdown)
        if file is not None:
            replace_text(file, updated)
            announce("updated", file)
    return 1 if damaged else 0
