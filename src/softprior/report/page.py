"""One self-contained report.html: no network, no fonts, no script from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from softprior.report import cells, figures
from softprior.report.results import Section, replace_text, write_json
from softprior.studies._kit import Figure, Table

TITLE = "softprior report"
_SAID_ELSEWHERE = ("Title", "Claim", "Run")  # the heading, the lead, and the command


def write_report(folder: Path, sections: Sequence[Section], title: str = TITLE) -> Path:
    """Write ``results.json`` and ``report.html`` into ``folder``; return the page's path."""
    page = render(sections, title=title)  # before anything is written: all or nothing
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", sections)
    replace_text(folder / "report.html", page)
    return folder / "report.html"


def render(sections: Sequence[Section], title: str = TITLE) -> str:
    """The report as one HTML document."""
    return _template().render(
        title=title,
        sections=sections,
        numbers=_numbers(sections),
        shared=_shared([section.facts for section in sections]),
        spread=any(cells.note(table) for section in sections for table in section.tables),
        stored=any(section.seeds for section in sections),  # a diagnosis has no results.json
        css=_asset("style.css"),
        script=_asset("sort.js"),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("softprior.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "read": cells.read,
        "heading": cells.heading,
        "numeric": cells.numeric,
        "note": cells.note,
        "symbols": cells.SYMBOLS,
        "svg": lambda figure, prefix: Markup(figures.svg(figure, prefix)),
        "slug": _slug,
        "tally": _tally,
        "about": lambda s: {k: v for k, v in s.about.items() if k not in _SAID_ELSEWHERE},
    }
    environment.tests |= {
        "table": lambda item: isinstance(item, Table),
        "figure": lambda item: isinstance(item, Figure),
    }
    return environment.get_template("template.html")


def _asset(name: str) -> Markup:
    return Markup((files("softprior.report") / name).read_text(encoding="utf-8"))


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name)


def _numbers(sections: Sequence[Section]) -> list[dict[int, str]]:
    """ "Table 1", "Figure 1", … through the whole page, by section and place in it."""
    counts = {"Table": 0, "Figure": 0}
    numbers: list[dict[int, str]] = []
    for section in sections:
        numbers.append({})
        for at, item in enumerate(section.items):
            kind = type(item).__name__
            if kind in counts:
                counts[kind] += 1
                numbers[-1][at] = f"{kind} {counts[kind]}"
    return numbers


def _tally(section: Section) -> str:
    """How the claims came out, in words: "2 hold, 1 does not hold, 1 open"."""
    count = dict.fromkeys(cells.SYMBOLS, 0)
    for claim in section.claims:
        count[claim.verdict] += 1
    words = {
        "holds": ("holds", "hold"),
        "does not hold": ("does not hold", "do not hold"),
        "cannot tell": ("open", "open"),
    }
    return ", ".join(f"{n} {words[v][n > 1]}" for v, n in count.items() if n)


def _shared(facts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The facts that are the same for every section: said once."""
    if not facts:
        return {}
    first, *others = facts
    return {k: v for k, v in first.items() if all(o.get(k) == v for o in others)}
