"""One self-contained report.html: no network, no fonts, no script from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from softprior.evidence.figure import Figure
from softprior.evidence.tables import Table
from softprior.report import cells, figures
from softprior.report.colours import hues
from softprior.report.questions import answers
from softprior.report.results import Section, numbered, slug

TITLE = "softprior report"


def render(sections: Sequence[Section], title: str = TITLE) -> str:
    """The report as one HTML document."""
    return _template().render(
        title=title,
        sections=sections,
        answers=answers(sections) if len(sections) > 1 else [],
        numbers=numbered(sections),
        shared=_shared([section.facts for section in sections]),
        spread=any(cells.note(table) for section in sections for table in section.tables),
        stored=any(section.seeds for section in sections),  # a diagnosis has no results.json
        css=_asset("style.css") + Markup(hues()),
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
        "notation": cells.NOTATION,
        "svg": lambda figure, prefix: Markup(figures.svg(figure, prefix)),
        "slug": slug,
        "tally": cells.tally,
    }
    environment.tests |= {
        "table": lambda item: isinstance(item, Table),
        "figure": lambda item: isinstance(item, Figure),
    }
    return environment.get_template("template.html")


def _asset(name: str) -> Markup:
    return Markup((files("softprior.report") / name).read_text(encoding="utf-8"))


def _shared(facts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The facts that are the same for every section: said once."""
    if not facts:
        return {}
    first, *others = facts
    return {k: v for k, v in first.items() if all(o.get(k) == v for o in others)}
