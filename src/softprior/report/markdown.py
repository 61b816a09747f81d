"""results.md: the report as GitHub's Markdown, with its figures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from softprior.evidence.claims import Claim
from softprior.evidence.figure import Figure
from softprior.evidence.tables import Table
from softprior.report import cells, figures
from softprior.report.questions import Answer, answers
from softprior.report.results import Section, numbered, replace_bytes, replace_text, slug

FIGURES = "figures"  # the folder beside the file
_MARKED = re.compile(
    r"^(?P<begin><!-- softprior: (?P<study>[^\s/]+)/(?P<key>\S+) -->\n)"
    r"(?:(?!<!-- softprior:).)*?^(?P<end><!-- end -->)$",
    re.DOTALL | re.MULTILINE,
)
# What Markdown would take for its own. The rest stays as it is: the file is read without a
# renderer, too, and there "p < 0.05" and "[0.1, 0.2]" are better than "p \\< 0.05".
_MARKUP = re.compile(
    r"^[#>]|^[+=-](?=[\s=-]|$)|^\d+[.)](?=\s|$)"  # a heading, a quotation, a list
    r"|[\\`*|~$]|<(?=[A-Za-z/!?])|&(?=#?\w+;)"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])"
)
_BRACKETS = re.compile(rf"{_MARKUP.pattern}|[\[\]]")


def write_markdown(path: Path, sections: Sequence[Section], command: str) -> None:
    """Write the report to ``path`` and its figures (PNG, SVG, PDF) to ``figures/`` beside it."""
    text, pictures = render_markdown(sections, command), pictures_of(sections)
    (path.parent / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        replace_bytes(path.parent / FIGURES / name, content)
    replace_text(path, text)


def pictures_of(sections: Sequence[Section]) -> dict[str, bytes]:
    """The files of all figures by name: study-key.png, .svg and .pdf."""
    return {
        f"{name}.{suffix}": content
        for section in sections
        for figure in section.figures
        for name in [_file(section, figure)]
        for suffix, content in figures.files(figure, salt=name).items()
    }


def render_markdown(sections: Sequence[Section], command: str) -> str:
    """The report as one Markdown document; ``command`` is what has written it."""
    introduction = (
        f"Written by {_code(command)}: do not edit, it will be written again. The exact numbers "
        f"are in `results.json`, as fractions. {_text(cells.NOTATION)}"
    )
    blocks = ["# Results", introduction]
    if len(sections) > 1 and (found := answers(sections)):
        blocks.append("## The paper's questions")
        blocks += _answers(found)
    if len(sections) > 1:
        blocks += ["## Contents", "\n".join(_contents(sections))]
    for section, places in zip(sections, numbered(sections), strict=True):
        blocks += _section(section, places)
    return "\n\n".join(blocks) + "\n"


def refresh(text: str, sections: Sequence[Section], name: str) -> str:
    """``text`` with each marked block written again: a table, and how it was measured.

    A block begins with a line ``<!-- softprior: STUDY/TABLE -->``, which names a study and the
    key of one of its tables, and ends with a line ``<!-- end -->``. ``name`` is the file's, for
    the ValueError about a marker that is missing, without end, or of a table that is not there.
    """
    tables = {f"{s.name}/{table.key}": (s, table) for s in sections for table in s.tables}

    def written(match: re.Match[str]) -> str:
        key = f"{match['study']}/{match['key']}"
        if key not in tables:
            raise ValueError(f"{name}: there is no table {key}; there are: {', '.join(tables)}")
        section, table = tables[key]
        facts = [_text(f"{key}: {text}") for key, text in section.facts.items()]
        blocks = [_table(table), _note(table), " · ".join([_measured(section), *facts])]
        return match["begin"] + "\n" + "\n\n".join(blocks) + "\n\n" + match["end"]

    found, count = _MARKED.subn(written, text)
    begun = len(re.findall(r"^<!-- softprior:", text, re.MULTILINE))
    if not begun or begun != count:
        what = f"{begun - count} of {begun} markers are" if begun else "there is no marker"
        raise ValueError(
            f"{name}: {what}{' not as wanted' if begun else ''}; wanted is a line "
            "<!-- softprior: STUDY/TABLE --> and, after the table, a line <!-- end -->"
        )
    return found


def _contents(sections: Sequence[Section]) -> Iterable[str]:
    for number, section in enumerate(sections, 1):
        tally = f": {cells.tally(section.claims)}" if section.claims else ""
        yield f"{number}. [{_label(section.title)}](#{slug(section.name)}){tally}"


def _answers(found: Sequence[Answer]) -> Iterable[str]:
    """The questions, and one table: a row for each study that has an answer."""
    yield "\n".join(f"- **{answer.name}.** {_text(answer.question)}" for answer in found)
    heads = ("Question", "Study", "Data set", "Verdict", "Effect", "Seeds", "In words")
    lines = [f"| {' | '.join(heads)} |", "|:---" * len(heads) + "|"]
    for answer in found:
        for row in answer.rows:
            study = f"[{_label(row.section.title.partition(':')[0])}](#{slug(row.section.name)})"
            verdict = f"{row.verdict.symbol} {row.verdict.outcome}"
            where = (answer.name, study, _text(row.section.on), verdict, _text(row.effect))
            lines.append(f"| {' | '.join(where)} | {row.section.seeds} | {_text(row.words)} |")
    yield "\n".join(lines)


def _section(section: Section, places: Mapping[int, str]) -> Iterable[str]:
    yield f'<a id="{slug(section.name)}"></a>'
    yield f"## {_text(section.title)}"
    if claim := section.about.get("Claim"):
        yield f"**The claim:** {_text(claim)}"
    if section.details:
        yield _list(section.details)
    if section.claims:
        yield "### Verdicts"
        yield "\n".join(_claim(claim) for claim in section.claims)
    if places:
        yield "### Tables and figures"
    for at, number in places.items():
        item = section.items[at]
        if isinstance(item, Table):
            yield f"**{number}. {_text(item.title)}**"
            yield _table(item)
            yield _note(item)
        elif isinstance(item, Figure):
            file = f"{FIGURES}/{_file(section, item)}"
            yield f"**{number}. {_text(item.title)}**"
            yield f"![{_label(item.alt)}]({file}.png)"
            yield f"{_text(item.caption)} As [SVG]({file}.svg) or [PDF]({file}.pdf)."
    yield "### How it was measured"
    yield "\n".join([f"- Repeat: {_measured(section)}", _list(section.facts)]).rstrip()


def _table(table: Table) -> str:
    columns = range(len(table.columns))
    rows = [
        [
            _text(cells.heading(c)).replace(" ↑", "\u00a0↑").replace(" ↓", "\u00a0↓")
            for c in table.columns
        ],
        ["---:" if cells.numeric(table, at) else ":---" for at in columns],
    ]
    for row in table.rows:
        readings = [cells.read(c, column) for c, column in zip(row, table.columns, strict=True)]
        rows.append([_number(r) if r.numeric else _text(r.text) for r in readings])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(reading: cells.Reading) -> str:
    """Breaks in a narrow column only before an interval and before a mark, never inside."""
    spread = reading.spread.replace(" ", "\u00a0")
    between = "\u00a0" if spread.startswith("±") else " "
    return f"{reading.value}{between}{spread} {reading.mark}".strip()


def _note(table: Table) -> str:
    return _text(f"{table.caption} {cells.note(table)}")


def _claim(claim: Claim) -> str:
    verdict = f"**{claim.verdict.symbol} {claim.verdict.outcome}:** {_text(claim.text)}"
    return f"- {verdict}<br>{_text(claim.evidence)}"


def _measured(section: Section) -> str:
    return f"{_code(section.command)}, {_seeds(section)}"


def _seeds(section: Section) -> str:
    return f"{section.seeds} seed{'s' if section.seeds != 1 else ''}"


def _list(entries: Mapping[str, str]) -> str:
    return "\n".join(f"- {_text(key)}: {_text(text)}" for key, text in entries.items())


def _file(section: Section, figure: Figure) -> str:
    return f"{slug(section.name)}-{slug(figure.key)}"


def _text(text: str) -> str:
    """``text`` in one line, in which nothing is markup, a table's border or mathematics."""
    return _escaped(_MARKUP, text)


def _label(text: str) -> str:
    """``text`` between the brackets of a link or of an image."""
    return _escaped(_BRACKETS, text)


def _escaped(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda m: f"{m[0][:-1]}\\{m[0][-1]}", " ".join(text.split()))


def _code(text: str) -> str:
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"
