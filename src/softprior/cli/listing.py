"""List presets, priors, teachers, data sets, networks and studies.

Each is found by its file: a prior dropped into the package's priors/ appears here by itself.
"""

from __future__ import annotations

import dataclasses
import inspect

from jsonargparse import ArgumentParser, Namespace
from rich.table import Table

from softprior import priors, studies, teachers
from softprior.cli._console import console
from softprior.training import images, models, presets


def arguments(parser: ArgumentParser) -> None:
    """This command has no options."""


def run(options: Namespace) -> int:
    """Print every family with a line on each member."""
    out = console()
    families = {
        "presets": {name: preset.line for name, preset in presets.found().items()},
        "priors": {name: _prior(member) for name, member in priors.found().items()},
        "teachers": {name: _line(member) for name, member in teachers.found().items()},
        "data sets": {**images.described(), "PATH": "Parquet files, or an image folder"},
        "networks": {name: _line(build) for name, build in models.found().items()},
        "studies": {name: studies.about(study)["Title"] for name, study in studies.found().items()},
    }
    for family, members in families.items():
        grid = Table.grid(padding=(0, 2))
        grid.add_column(min_width=14, no_wrap=True)
        for name, text in members.items():
            grid.add_row(f"  [bold]{name}[/bold]", text)
        out.print(f"[bold]{family}[/bold]", highlight=False)
        out.print(grid, highlight=False)
        out.print()
    return 0


def _line(member: object) -> str:
    return (inspect.getdoc(member) or "").strip().splitlines()[0].rstrip(".")


def _prior(member: type) -> str:
    fields = ", ".join(f"{f.name}={f.default!r}" for f in dataclasses.fields(member))
    return f"{_line(member)}\n[dim]{fields}[/dim]".replace("[0", "\\[0")
