"""The families of the package, and what is in each: found by their files."""

from __future__ import annotations

import dataclasses
import inspect

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from softprior import records, studies
from softprior.cli._console import console
from softprior.records import Role
from softprior.training import images, models, presets


def show() -> None:
    """Print every family with a line on each member."""
    out = console()
    families = {
        "presets": {name: escape(preset.line) for name, preset in presets.found().items()},
        "priors": _components("prior"),
        "penalties": _components("penalty"),
        "teachers": {
            **_components("teacher"),
            "RUN": "The folder of a finished run: an earlier generation",
            "FILE": "Weights of a network (.safetensors, .pt)",
        },
        "data sets": {
            **images.described(),
            "PATH": "Parquet files, or an image folder",
            "MODULE:NAME": "Your own, in Python",
        },
        "networks": {name: escape(_line(build)) for name, build in models.found().items()},
        "studies": {
            name: escape(studies.about(study)["Title"]) for name, study in studies.found().items()
        },
    }
    for family, members in families.items():
        grid = Table.grid(padding=(0, 2))
        grid.add_column(min_width=14, no_wrap=True)
        for name, text in members.items():
            grid.add_row(Text(f"  {name}", style="bold"), text)
        out.print(f"[bold]{family}[/bold]", highlight=False)
        out.print(grid, highlight=False)
        out.print()


def _line(member: object) -> str:
    return (inspect.getdoc(member) or "").strip().splitlines()[0].rstrip(".")


def _components(role: Role) -> dict[str, str]:
    """A line on each member of a family, and its hyper-parameters with their defaults."""
    lines = {}
    for name, member in records.found(role).items():
        fields = ", ".join(f"{f.name}={f.default!r}" for f in dataclasses.fields(member))
        lines[name] = escape(_line(member)) + (f"\n[dim]{escape(fields)}[/dim]" if fields else "")
    return lines
