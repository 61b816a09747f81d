"""The report: the page, the JSON file and the terminal say the same numbers, and say them well."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import itertools
import json
import math
import os
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="needs softprior[study]")
pytest.importorskip("jinja2", reason="needs softprior[study]")
pytest.importorskip("rich", reason="needs softprior[study]")

import matplotlib
from rich.console import Console

from softprior.cli import main
from softprior.evidence import (
    Claim,
    Column,
    Difference,
    Figure,
    Measured,
    Panel,
    Series,
    Table,
    Verdict,
)
from softprior.evidence import curves as panels
from softprior.evidence.palette import COLOURS, PAPER
from softprior.evidence.plots import confidence_histogram, reliability_diagram
from softprior.evidence.statistics import Interval
from softprior.report import (
    FORMATS,
    Section,
    refresh,
    render,
    svg,
    to_json,
    write_json,
    write_markdown,
    write_report,
)
from softprior.report.cells import heading, note, read, tally
from softprior.report.colours import contrast, dark, oklab
from softprior.report.diagnosis import diagnosis_section
from softprior.report.figures import files
from softprior.report.latex import escaped, render_latex
from softprior.report.markdown import _label, _text, render_markdown
from softprior.report.questions import QUESTIONS, answers
from softprior.report.results import replace_text
from softprior.report.terminal import show
from softprior.report.tidy import FIELDS, to_csv
from softprior.training import Recipe, Store, fit

EVIL = "<script>alert(1)</script> & \"quotes\" 'too'"
METHODS = list(COLOURS)[:5]
BINS = {
    "low": [0.0, 0.25, 0.5, 0.75],
    "high": [0.25, 0.5, 0.75, 1.0],
    "count": [0, 2, 5, 13],
    "confidence": [math.nan, 0.4, 0.6, 0.9],
    "accuracy": [math.nan, 0.5, 0.4, 1.0],
}
COLUMNS = (
    Column(name="Method"),
    Column(name="Accuracy", percent=True, better="high"),
    Column(name="NLL", digits=4, better="low"),
    Column(name="ECE gap", percent=True, better="low"),
    Column(name="NLL gap", digits=4),
    Column(name="Epochs"),
    Column(name="Seconds", digits=1),
)


def between(low: float, high: float) -> Difference:
    """With this 95 % interval, of five seeds."""
    t = 2.7764451051977987  # of four degrees of freedom
    return Difference((low + high) / 2, 5, (high - low) / 2 / t, 4)


def table(key: str = "levels", caption: str = "Synthetic.") -> Table:
    rows = [
        (
            name,
            Measured(0.9 + i / 97, 0.004 + i / 1e4, 5),
            Measured(0.1 * i + 1 / 3, math.nan, 1),
            between(-0.03 + i / 83, -0.01 + i / 83),
            Difference(0.01, 1),
            30,
            "–" if i == 0 else 1e-3 * i,
        )
        for i, name in enumerate(METHODS)
    ]
    return Table(key=key, title="Levels", caption=caption, columns=COLUMNS, rows=rows)


def figure(key: str = "reliability", **changes: Any) -> Figure:
    def draw(axes: Sequence[Any]) -> None:
        for ax, name in zip(axes, METHODS, strict=True):
            reliability_diagram(ax, *BINS.values(), colour=COLOURS[name], label=name)

    plain: dict[str, Any] = {
        "key": key,
        "title": "Reliability",
        "caption": EVIL,
        "alt": "Five diagrams <&>.",
        "draw": draw,
        "data": BINS,
        "panels": 5,
        "size": (9.0, 2.6),
    }
    return Figure(**{**plain, **changes})


def curves() -> Figure:
    points = [(k, Interval(k / 10, k / 10 - 0.1, k / 10 + 0.1)) for k in range(1, 10)]
    points.append((10, Interval(1, math.nan, math.nan)))
    series = [Series(name, COLOURS[name], points) for name in METHODS]
    panel = Panel(ylabel="Score", xlabel="Generation", series=series)
    made = panels("curves", "Curves", [panel], caption="C", alt="A", size=(7.2, 3.4))

    def draw(axes: Sequence[Any]) -> None:
        made.draw(axes[:1])
        confidence_histogram(axes[1], [0.0, 0.5, 0.99, 1.0], colour="#000000")

    return figure("curves", draw=draw, panels=2, size=(7.2, 3.4))


def sections() -> list[Section]:
    claims = [
        Claim(text="It works.", verdict=Verdict("holds"), evidence="+1.00 [+0.50, +1.50]"),
        Claim(text="It always works.", verdict=Verdict("does not hold"), evidence="−1.00"),
        Claim(text=EVIL, verdict=Verdict("cannot tell"), evidence="0.00 [−1.00, +1.00]"),
    ]
    plain: dict[str, Any] = {
        "about": {"Title": "t", "Claim": "it works.", "Paper": "section 6", "Cost": "a minute"},
        "scale": "smoke",
        "seeds": 5,
        "facts": {"Processor": "an abacus", "Versions": "torch 2.8"},
    }
    return [
        Section(name="one", title="One study", command="softprior study one",
                items=[*claims, table(), figure(), table("again", EVIL)], **plain),
        Section(name="two", title="Another", command="softprior study two",
                items=[figure(), curves()], **plain),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def page() -> str:
    return render(sections(), title="A <report>")


class Reader(HTMLParser):
    """Collects the tables' cells, every id, every reference and every script of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[dict[str, Any]]]] = {}
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.references: list[str] = []
        self.scripts = 0
        self._rows: list[list[dict[str, Any]]] = []
        self._cell: dict[str, Any] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.scripts += tag == "script"
        self.headings += [int(tag[1])] if re.fullmatch(r"h\d", tag) else []
        self.ids += [found["id"] or ""] if "id" in found else []
        self.references += [v or "" for k, v in attrs if k in ("href", "src", "srcset", "data")]
        if tag == "table":
            self._rows = self.tables[found["data-key"] or ""] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._cell = {"tag": tag, "scope": found.get("scope"), "text": "", **found}
            self._rows[-1].append(self._cell)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell["text"] += data


def test_numbers_on_the_page_are_those_in_results_json(page: str, tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", sections())
    study = json.loads((tmp_path / "results.json").read_text("utf-8"))["studies"]["one"]
    shown = Reader(page).tables
    assert set(shown) == {t["key"] for t in study["tables"]} == {"levels", "again"}
    for stored in study["tables"]:
        for cells, values in zip(shown[stored["key"]][1:], stored["rows"], strict=True):
            for cell, value in zip(cells, values, strict=True):
                if isinstance(value, str):
                    assert cell["text"] == value
                    assert "data-mean" not in cell
                    continue
                numbers = value if isinstance(value, dict) else {"mean": value}
                for name, number in numbers.items():
                    text = cell.get(f"data-{name}")
                    assert number == (None if text is None else json.loads(text))


def test_page_and_terminal_read_alike(page: str) -> None:
    given = table()
    for cells, row in zip(Reader(page).tables["levels"][1:], given.rows, strict=True):
        texts = [read(c, column).text for c, column in zip(row, given.columns, strict=True)]
        assert [" ".join(c["text"].split()) for c in cells] == texts
    out = terminal(200)
    for row in given.rows:
        assert all(read(c, k).text in out for c, k in zip(row, given.columns, strict=True))


@pytest.mark.parametrize(
    ("cell", "column", "text"),
    [
        (Measured(0.98314, 0.00421, 5), Column(name="a", percent=True), "98.31 ± 0.42"),
        (Measured(0.98314, math.nan, 1), Column(name="a", percent=True), "98.31"),
        (Measured(-1.5, 0.25, 3), Column(name="a", digits=1), "−1.5 ± 0.2"),
        (between(-0.0031, 0.0055), Column(name="a", percent=True, better="high"),
         "+0.12 [−0.31, +0.55]"),
        (between(0.25, 0.75), Column(name="a", better="high"),
         "+0.50 [+0.25, +0.75] better"),
        (between(0.25, 0.75), Column(name="a", better="low"),
         "+0.50 [+0.25, +0.75] worse"),
        (between(-0.75, -0.25), Column(name="a", better="low"),
         "−0.50 [−0.75, −0.25] better"),
        (between(-0.75, -0.25), Column(name="a"), "−0.50 [−0.75, −0.25] differs"),
        (between(0.001, 0.003), Column(name="a"), "+0.00 [+0.00, +0.00] differs"),
        (Difference(0.5, 1), Column(name="a", better="high"), "+0.50"),
        (between(0.0, 0.0), Column(name="a"), "0.00 [0.00, 0.00]"),
        (30, Column(name="a"), "30"),
        (-3, Column(name="a"), "−3"),
        (1, Column(name="a", percent=True), "100.00"),
        (-0.001, Column(name="a"), "0.00"),
        (math.nan, Column(name="a"), "–"),
        (-math.inf, Column(name="a"), "−∞"),
        ("[b]text", Column(name="a", percent=True), "[b]text"),
    ],
)  # fmt: skip
def test_how_a_cell_reads(cell: Any, column: Column, text: str) -> None:
    assert read(cell, column).text == text


def test_headings_and_notes() -> None:
    assert heading(Column(name="ECE", percent=True, better="low")) == "ECE (%) ↓"
    assert heading(Column(name="Error in %", percent=True)) == "Error in %"
    assert note(table()) == "n = 1 to 5 seeds. “better” or “worse”: the interval excludes zero."
    one = Table(key="k", title="", caption="", columns=COLUMNS[:2], rows=[("a", Measured(1, 0, 1))])
    assert note(one) == "n = 1 seed, so there is no spread."


def test_json_is_strict_whole_and_plain(tmp_path: Path) -> None:
    path = write_report(tmp_path / "new", sections())
    assert path == tmp_path / "new" / "report.html"
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "results.json"]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (path.parent / "results.json").read_text("utf-8")
    found = json.loads(text, parse_constant=refuse)
    assert found == to_json(sections())
    assert found["format"] == 1
    one = found["studies"]["one"]
    assert one["tables"][0]["rows"][0][2] == {"mean": 1 / 3, "std": None, "n": 1}
    assert one["tables"][0]["columns"][1] == {
        "name": "Accuracy", "digits": 2, "percent": True, "better": "high",
    }  # fmt: skip
    assert one["figures"][0]["data"]["accuracy"] == [None, 0.5, 0.4, 1.0]
    assert [c["verdict"] for c in one["claims"]] == ["holds", "does not hold", "cannot tell"]


def test_mistakes_are_named() -> None:
    one = sections()[0]
    with pytest.raises(ValueError, match="sections must have different names"):
        to_json([one, one])
    short = Table(key="short", title="", caption="", columns=COLUMNS, rows=[("a", 1)])
    bad = Section(name="a", title="", scale="", seeds=1, command="", items=[short])
    with pytest.raises(ValueError, match=r"table 'short' has 7 columns, its row 'a' has 2 cells"):
        to_json([bad])
    odd = Section(name="a", title="", scale="", seeds=1, command="",
                  items=[figure(data={"x": {1, 2}})])  # fmt: skip
    with pytest.raises(TypeError, match="got <class 'set'>"):
        to_json([odd])
    twice = Section(name="a", title="", scale="", seeds=1, command="", items=[table(), table()])
    with pytest.raises(ValueError, match=r"study 'a' uses a key twice, got \['levels', 'levels'\]"):
        to_json([twice])
    with pytest.raises(
        ValueError, match=r"unknown format 'docx': known are 'csv', 'html', 'latex'"
    ):
        write_report(Path("nowhere"), [one], formats=["docx"])


def test_the_page_stands_alone(page: str) -> None:
    reader = Reader(page)
    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", page)
    assert all(r.startswith(("#", "data:")) for r in reader.references)
    assert {r[1:] for r in reader.references if r.startswith("#")} <= set(reader.ids)


def test_text_is_escaped(page: str) -> None:
    assert Reader(page).scripts == 1  # our own; none out of a caption
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; " in page
    assert "<title>A &lt;report&gt;</title>" in page


def test_the_page_is_well_built(page: str) -> None:
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.headings[0] == 1
    assert reader.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(reader.headings, reader.headings[1:]))  # noqa: B905
    header, *rows = reader.tables["levels"]
    assert {c["scope"] for c in header} == {"col"}
    assert {row[0]["scope"] for row in rows} == {"row"}
    assert '<html lang="en">' in page
    assert 'name="viewport"' in page
    for target in re.findall(r'aria-(?:labelledby|describedby)="([^"]*)"', page):
        assert set(target.split()) <= set(reader.ids)


def test_svg_is_xml_with_own_ids_and_theme_colours() -> None:
    before = dict(matplotlib.rcParams)
    first, second = svg(figure()), svg(figure(), prefix="other key")
    assert dict(matplotlib.rcParams) == before
    assert svg(figure()) == first  # the same figure gives the same bytes
    ids = [set(re.findall(r'\bid="([^"]*)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    for text in (first, second):
        root = ElementTree.fromstring(text)
        assert root.tag == "svg"
        assert {"viewBox", "role", "aria-labelledby"} <= set(root.attrib)
        assert not {"width", "height"} & set(root.attrib)
        assert root.findtext("title") == "Reliability"
        assert root.findtext("desc") == "Five diagrams <&>."
        assert "self-distillation" in {(t.text or "").strip() for t in root.iter("text")}
        assert root.find(".//style") is None
        used = set(re.findall(r'(?:href="|url\()#([^")]*)', text))
        assert used <= set(re.findall(r'\bid="([^"]*)"', text))
        assert "var(--ink" in text
        assert "var(--hue-0072b2" in text
        bare = re.sub(r"var\([^)]*\)", "", text)
        assert not re.search(r"(?:fill|stroke): #", bare)


def test_files_of_a_figure_are_what_they_say_and_tell_no_time() -> None:
    one = files(curves(), salt="study-curves")
    assert {suffix: content[:5] for suffix, content in one.items()} == {
        "png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-",
    }  # fmt: skip
    again = files(curves(), salt="another")
    assert {suffix for suffix in one if one[suffix] != again[suffix]} == {"svg"}
    root = ElementTree.fromstring(one["svg"])
    assert root.findtext("{*}title") == curves().title
    assert "Generation" in {
        (text.text or "").strip() for text in root.iter("{http://www.w3.org/2000/svg}text")
    }
    assert b"/Type3" not in one["pdf"]
    for content in one.values():
        assert not re.search(rb"Date\b|Creator|Producer|Software", content)


def test_every_colour_is_legible_on_both_papers_and_unlike_the_others(page: str) -> None:
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    papers = re.findall(r"--paper: (#\w{6})", style[1])
    assert papers[0] == PAPER
    assert len(papers) == 2
    hues = dict(re.findall(r"--hue-(\w{6}): (#\w{6});", style[1]))
    assert hues == {colour.lower()[1:]: dark(colour) for colour in COLOURS.values()}
    assert min(contrast(colour, papers[0]) for colour in COLOURS.values()) >= 3
    assert min(contrast(colour, papers[1]) for colour in hues.values()) >= 3
    for palette in (COLOURS.values(), hues.values()):
        pairs = itertools.combinations(map(oklab, palette), 2)
        assert min(math.dist(*pair) for pair in pairs) > 0.05  # about twice what can be told apart


def test_colours_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # WCAG's known case
    assert oklab("#ffffff") == pytest.approx((1, 0, 0), abs=1e-6)
    assert oklab("#ff0000") == pytest.approx((0.62796, 0.22486, 0.12585), abs=1e-5)
    lightness, a, b = oklab(dark("#0072B2"))
    given = oklab("#0072B2")
    assert lightness == pytest.approx(1.2 - 0.85 * given[0], abs=0.01)
    assert math.atan2(b, a) == pytest.approx(math.atan2(given[2], given[1]), abs=0.02)


def terminal(width: int, **changes: Any) -> str:
    out = io.StringIO()
    show(sections(), Console(file=out, width=width, **changes))
    return out.getvalue()


def test_terminal_at_80_columns_when_piped() -> None:
    out = terminal(80)
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out  # nothing is cut off
    assert out.count("self-distillation") > out.count("[−3.00, −1.00]")  # names are repeated
    for row in table().rows:
        assert all(read(c, k).text in out for c, k in zip(row, COLUMNS, strict=True))
    for verdict in ("✓ holds: It works.", "✗ does not hold: ", "? cannot tell: "):
        assert verdict in out
    assert "Accuracy (%) ↑" in out


def test_diagnosis(tmp_path: Path) -> None:
    values = {"accuracy": 0.9, "ece": 0.0321, "temperature": None, "unheard_of": 3}
    section = diagnosis_section("run.npz", values, BINS, [0.1, 0.5, 1.0])
    write_report(tmp_path, [section], title="Diagnosis")
    reader = Reader((tmp_path / "report.html").read_text("utf-8"))
    rows = {row[0]["text"]: row for row in reader.tables["diagnostics"][1:]}
    assert rows["ece"][1]["data-mean"] == "0.0321"
    assert "4 bins" in rows["ece"][2]["text"]
    assert rows["temperature"][1]["text"] == "–"
    assert rows["unheard_of"][2]["text"] == ""
    assert [f.key for f in section.figures] == ["reliability", "confidences"]


def test_a_page_with_one_section_of_its_own_title_says_it_once() -> None:
    section = diagnosis_section("run.npz", {"accuracy": 0.9}, BINS, [0.1, 0.5, 1.0])
    text = render([section], title=section.title)
    reader = Reader(text)
    assert text.count(f"{section.title}</h") == 1
    assert reader.headings[:2] == [1, 2]
    for target in re.findall(r'aria-labelledby="([^"]*)"', text):
        assert set(target.split()) <= set(reader.ids)
    assert "results.json" not in text


def test_what_is_no_regular_file_is_written_to_and_a_link_is_kept(tmp_path: Path) -> None:
    pipe, real, link = (tmp_path / name for name in ("pipe", "real", "link"))
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_text(pipe, "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert pipe.is_fifo()
    real.write_text("old")
    link.symlink_to(real)
    replace_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert {p.name for p in tmp_path.iterdir()} == {"pipe", "real", "link"}
    with pytest.raises(FileNotFoundError) as caught:
        replace_text(tmp_path / "nowhere" / "page", "text")
    assert caught.value.filename == str(tmp_path / "nowhere" / "page")


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
PROBE = """
<iframe id="page" style="width: 360px; height: 800px; border: 0" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
document.getElementById("page").addEventListener("load", (event) => {{
  const inside = event.target.contentWindow, page = inside.document;
  const column = () => [...page.querySelectorAll("table")[0].tBodies[0].rows]
    .map((row) => Number(row.cells[1].dataset.mean));
  const before = column();
  page.querySelectorAll("table")[0].tHead.rows[0].cells[1].querySelector("button").click();
  document.getElementById("found").textContent = JSON.stringify({{
    errors: inside.errors,
    width: page.documentElement.scrollWidth,
    window: inside.innerWidth,
    figures: [...page.querySelectorAll("svg")].map((s) => s.getBoundingClientRect())
      .map((box) => [box.width, box.height]),
    before, after: column(),
    sorted: page.querySelector("[aria-sort]").getAttribute("aria-sort"),
  }});
}});
</script>
"""
LISTEN = """<script>
window.errors = [];
window.addEventListener("error", (e) => errors.push(e.message));
console.error = (...words) => errors.push(words.join(" "));
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="needs the chromium browser on the PATH")
def test_in_a_browser_at_360_pixels(page: str, tmp_path: Path) -> None:
    listening = page.replace("<head>", f"<head>{LISTEN}", 1)
    probe = tmp_path / "probe.html"
    probe.write_text("<!doctype html><meta charset=utf-8>"
                     + PROBE.format(page=html.escape(listening)), "utf-8")  # fmt: skip
    options = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --virtual-time-budget=3000 --dump-dom"
    )
    command = [str(BROWSER), *options.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, probe.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    match = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(html.unescape(match[1]))
    assert found["errors"] == []
    assert found["window"] == 360
    assert found["width"] <= 360
    assert len(found["figures"]) == 3
    assert all(w > 100 and h > 100 for w, h in found["figures"])
    assert found["sorted"] == "descending"
    assert found["before"] != found["after"] == sorted(found["before"], reverse=True)


def parsed(text: str) -> list[Any]:
    """Tokens of GitHub's dialect, with every inline token's children in its place."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    return [inner for token in tokens for inner in ([token, *(token.children or [])])]


def plain(text: str) -> str:
    """What a reader sees of a paragraph: an error where anything in it became markup."""
    kinds = [token.type for token in parsed(text)]
    assert set(kinds) <= {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}
    assert kinds.count("paragraph_open") == 1
    return "".join(token.content for token in parsed(text) if token.type.startswith("text"))


@pytest.mark.parametrize("text", [
    EVIL, "# no heading", "- no list", "1. no list", "1) no list", "+ a", "> no quotation", "===",
    "a *b* _c_ __d__ ~~e~~ `f` <g> <!-- h --> &amp; &#65; \\* \\", "[a](b) ![c](d) [e][f] [g]: h",
    "p < 0.05", "[0.1, 0.2]", "d_z", "a_b_c", "snake_case_", "a | b", "$x$", "-", "+", "5 % | ~4",
])  # fmt: skip
def test_text_is_no_markdown(text: str) -> None:
    assert plain(_text(text)) == text


def test_any_text_is_no_markdown() -> None:
    pick = random.Random(0)
    pieces = [*"#>+-=.)*_`|~$<&;[](){}!:\\/ \"'", "1", "a", "b ", "amp", "http://a", "  ", "é", "−"]
    for _ in range(500):
        text = "".join(pick.choices(pieces, k=pick.randint(1, 12))).strip()
        if text := " ".join(text.split()):
            assert plain(_text(text)) == text, text
            image = [t for t in parsed(f"![{_label(text)}](a.png)") if t.type == "image"]
            assert [t.content for t in image] == [_label(text)], text


def test_plain_words_stay_as_they_are() -> None:
    for text in ("p < 0.05, d_z = [−0.1, +0.2]", "95 % (20 bins)", "1.5 & more", "a - b"):
        assert _text(text) == text


def test_markdown_says_what_the_page_says() -> None:
    tokens = parsed(render_markdown(sections(), "softprior report `here`"))
    rows: list[list[str]] = []
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            inside = tokens[at + 2 :][: len(tokens[at + 1].children)]
            rows[-1].append("".join(t.content for t in inside).replace("\u00a0", " "))
    given = table()
    expected = [[heading(column) for column in given.columns]] + [
        [read(cell, column).text for cell, column in zip(row, given.columns, strict=True)]
        for row in given.rows
    ]
    assert rows == expected * 2  # the study has this table twice
    aligned = {t.attrs.get("style") for t in tokens if t.type == "th_open"}
    assert aligned == {"text-align:left", "text-align:right"}
    headings = [tokens[at + 1].content for at, t in enumerate(tokens) if t.type == "heading_open"]
    assert headings[0] == "Results"
    assert {"One study", "Another", "Verdicts", "How it was measured"} <= set(headings)
    assert [t.content for t in tokens if t.type == "code_inline"] == [
        "softprior report `here`", "results.json", "softprior study one", "softprior study two",
    ]  # fmt: skip
    text = "\n".join(t.content for t in tokens if t.type == "inline")
    assert "Table 2. Levels" in text
    assert "Figure 3. Reliability" in text  # through the whole document, as on the page
    assert "n = 1 to 5 seeds." in text
    assert tally(sections()[0].claims) in text
    for claim in sections()[0].claims:
        assert f"{claim.verdict.outcome}:** {_text(claim.text)}<br>{_text(claim.evidence)}" in text
    assert "Processor: an abacus" in text


def test_markdown_and_its_figures_lie_beside_one_another(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "numbers.md"
    path.parent.mkdir()
    write_markdown(path, sections(), "softprior report x")
    names = {f"{name}.{suffix}" for name in ("one-reliability", "two-reliability", "two-curves")
             for suffix in ("png", "svg", "pdf")}  # fmt: skip
    assert {p.name for p in (path.parent / "figures").iterdir()} == names
    tokens = parsed(path.read_text("utf-8"))
    links = {
        t.attrs.get("src") or t.attrs["href"] for t in tokens if t.type in ("image", "link_open")
    }
    assert {link for link in links if not link.startswith("#")} == {f"figures/{n}" for n in names}
    assert {link for link in links if link.startswith("#")} == {"#one", "#two"}
    html_ids = set(re.findall(r'<a id="([^"]*)">', path.read_text("utf-8")))
    assert html_ids == {"one", "two"}
    alts = [t.children[0].content for t in tokens if t.type == "image"]
    assert alts == ["Five diagrams <&>."] * 3


MARKED = "# Mine\n\n<!-- softprior: one/levels -->\nold\n<!-- end -->\n\nMy last word.\n"


def test_a_claim_that_holds_is_answered_as_it_is_written() -> None:
    """A name from the code at its beginning stays one."""
    text = "posterior_loss is so."
    claim = Claim(text=text, verdict=Verdict("holds"), evidence="1", answers=("RQ2",))
    (answer,) = answers([dataclasses.replace(sections()[0], items=[claim])])
    assert [(row.words, row.effect) for row in answer.rows] == [("posterior_loss is so.", "1")]


def test_the_paper_s_questions_are_answered_in_a_sentence() -> None:
    one, two = sections()
    brief = {"It works.": "+1.00", "It always works.": ""}
    telling = [
        dataclasses.replace(c, answers=("RQ1", "RQ5"), brief=brief[c.text])
        if c.text in brief
        else c
        for c in one.claims
    ]
    asking = [dataclasses.replace(one, items=telling), two]
    found = answers(asking)
    assert [answer.name for answer in found] == ["RQ1", "RQ5"]
    expected = "It works. Does not hold: it always works."
    for answer in found:
        (row,) = answer.rows
        assert (row.section, row.words, row.effect) == (asking[0], expected, "+1.00; −1.00")
        assert row.verdict.outcome == "does not hold"
    text, page = render_markdown(asking, "x"), render(asking)
    head = text.partition("## Contents")[0]
    for name in ("RQ1", "RQ5"):
        assert f"- **{name}.** {QUESTIONS[name]}" in head
        assert f"| {name} | [One study](#one) | digits | ✗ does not hold | " in head
    assert page.index(expected) < page.index("Contents")
    assert page.count(expected) == 2
    assert answers(sections()) == []
    assert "questions" not in render_markdown(sections(), "x").partition("## One study")[0]


def test_a_marked_table_is_written_again() -> None:
    new = refresh(MARKED, sections(), "README.md")
    assert refresh(new, sections(), "README.md") == new
    begin, end = "<!-- softprior: one/levels -->", "<!-- end -->"
    assert new.startswith(f"# Mine\n\n{begin}\n\n| Method |")
    assert new.endswith(f"\n\n{end}\n\nMy last word.\n")
    assert "old" not in new
    assert "Synthetic. n = 1 to 5 seeds." in new
    assert "`softprior study one`, 5 seeds · Processor: an abacus · Versions: torch 2.8" in new
    assert "\n".join(parsed_rows(new)) in render_markdown(sections(), "x")
    two = refresh(MARKED + MARKED.replace("levels", "again"), sections(), "README.md")
    assert two.startswith(new)
    assert two.count("| Method |") == 2
    quoted = f"Write `{begin}` before a table.\n\n{MARKED}"  # in a sentence it is no marker
    assert refresh(quoted, sections(), "README.md").count("| Method |") == 1


def parsed_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(("text", "told"), [
    ("# Mine\n", "R.md: there is no marker; wanted is a line <!-- softprior: STUDY/TABLE -->"),
    ("<!-- softprior: one/levels -->\n", "R.md: 1 of 1 markers are not as wanted; wanted is"),
    ("<!-- softprior: one -->\n<!-- end -->\n", "R.md: 1 of 1 markers are not as wanted"),
    ("<!-- softprior: one/levels -->\n" + MARKED, "R.md: 1 of 2 markers are not as wanted"),
    (MARKED.replace("levels", "no"), "R.md: there is no table one/no; there are: one/levels, one/"),
])  # fmt: skip
def test_a_marker_that_is_wrong_is_named(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        refresh(text, sections(), "R.md")


def complaints(latex: str) -> list[str]:
    """What LaTeX with booktabs would stumble over: a strict reading of what we write."""
    found = []
    commands = {
        *("begin", "end", "centering", "caption", "label", "footnotesize", "toprule", "midrule"),
        *("bottomrule", "pm", "times", "cdot", "infty", "uparrow", "downarrow", "dots"),
        *("textless", "textgreater", "textbackslash", "textasciitilde", "textasciicircum"),
        *("textbar", "textquotedbl", "usepackage"),
    }
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    found += [c for c in re.findall(r"\\([A-Za-z]+)", body) if c not in commands]
    found += [f"beyond ASCII: {c}" for c in body if ord(c) > 127]
    bare = re.sub(r"\\[&%$#_{}\\]", "", body)
    found += [f"not escaped: {c}" for c in re.findall(r"[%#~^\"<>|]", bare)]
    labels = re.findall(r"\\label\{tab:([A-Za-z0-9_-]+)\}", body)
    found += ["labels"] if len(labels) != len(set(labels)) != body.count("\\caption{") else []
    without = re.sub(r"\\label\{.*?\}", "", bare)
    found += ["underscore in text"] if "_" in without else []
    for line in bare.splitlines():
        depths = list(itertools.accumulate({"{": 1, "}": -1}.get(c, 0) for c in line))
        found += [f"braces: {line}"] if depths and (min(depths) < 0 or depths[-1]) else []
        found += [f"mathematics: {line}"] if line.count("$") % 2 else []
        for text in line.split("$")[::2]:
            wrong = re.search(r"\\(pm|times|cdot|infty|uparrow|downarrow)\b", text)
            found += [f"only for mathematics: {line}"] if wrong else []
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            found.append(f"end of {name}")
    found += opened
    for wanted, rows in re.findall(
        r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\n\\end\{tabular\}", body, re.DOTALL
    ):
        top, *lines, bottom = rows.splitlines()
        found += [] if (top, bottom) == ("\\toprule", "\\bottomrule") else ["rules"]
        found += [] if lines.count("\\midrule") == 1 and lines[1] == "\\midrule" else ["midrule"]
        for line in lines:
            if line != "\\midrule":
                cells = re.sub(r"\\[&\\]", "", line).count("&") + 1
                found += [f"{cells} cells: {line}"] if cells != len(wanted) else []
                found += [f"no end: {line}"] if not line.endswith(r" \\") else []
                found += [f"taken for an option: {line}"] if line.startswith(("[", "*")) else []
    return found


def test_latex_is_well_formed() -> None:
    text = render_latex(sections(), "softprior report x")
    assert complaints(text) == []
    assert text.count("\\begin{table}") == text.count("\\toprule") == 2
    assert r"\label{tab:one-levels}" in text
    assert r"cross-entropy & $90.00 \pm 0.40$ & $0.3333$ & $-2.00$ better & " in text
    assert r" &  &  & $[-3.00, -1.00]$ &  &  &  \\" in text
    assert "n = 1 to 5 seeds." in text
    assert escaped(EVIL) in text


def test_text_is_no_latex() -> None:
    pick = random.Random(0)
    pieces = [
        *"&%$#_{}~^\\<>|[]*\"'`",
        "−",
        "±",
        "“",
        "”",
        "’",
        "a",
        "1 ",
        "∞",
        "↑",
        "…",
        "–",
        "\n",
    ]
    for _ in range(300):
        words = ["".join(pick.choices(pieces, k=9)) for _ in range(3)]
        given = Table(key="k", title=words[0], caption=words[1], columns=(Column(name="a"),),
                      rows=[(words[2],), ("[0]",), ("*",)])  # fmt: skip
        one = Section(name="a", title="", scale="", seeds=1, command="x", items=[given])
        assert complaints(render_latex([one], "y")) == [], words


@pytest.mark.parametrize("broken", [
    (r"\_", "_"), (r"\bottomrule", ""), (" & ", " "), ("$0.3333$", "$0.3333"), ("}", ""),
    (r"\pm", "±"), (r"\end{table}", ""), ("{[}", "["), (r"\\", ""),
])  # fmt: skip
def test_the_reading_of_latex_is_strict(broken: tuple[str, str]) -> None:
    rows = [("[a_b", Measured(1 / 3, 0.1, 3), 1 / 3)]
    columns = [Column(name="a"), Column(name="b"), Column(name="c", digits=4)]
    given = Table(key="k", title="t", caption="c", columns=columns, rows=rows)
    text = render_latex(
        [Section(name="a", title="", scale="", seeds=3, command="x", items=[given])], "y"
    )
    assert complaints(text) == []
    assert broken[0] in text
    assert complaints(text.replace(*broken, 1)) or complaints(text.replace(*broken))


def numbers_in(stored: Any) -> list[float | None]:
    if isinstance(stored, dict):
        return [n for value in stored.values() for n in numbers_in(value)]
    if isinstance(stored, list):
        return [n for value in stored for n in numbers_in(value)]
    return [] if isinstance(stored, (str, bool)) else [stored]


def test_csv_has_every_number_of_results_json(tmp_path: Path) -> None:
    pyarrow_csv = pytest.importorskip("pyarrow.csv")
    path = tmp_path / "numbers.csv"
    path.write_text(to_csv(sections()), encoding="utf-8")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FIELDS
    names = [tuple(row[f] for f in FIELDS if f not in ("value", "unit")) for row in rows]
    assert len(set(names)) == len(names)  # each number has a name of its own
    stored = to_json(sections())["studies"]
    for study, kind in itertools.product(("one", "two"), ("table", "figure")):
        for item in stored[study][f"{kind}s"]:
            mine = [r["value"] for r in rows
                    if (r["study"], r["kind"], r["key"]) == (study, kind, item["key"])]  # fmt: skip
            found = [None if value == "" else float(value) for value in mine]
            assert found == numbers_in(item["rows" if kind == "table" else "data"])
    arrow = pyarrow_csv.read_csv(path).to_pydict()
    assert arrow["value"] == [None if r["value"] == "" else float(r["value"]) for r in rows]
    by_name = dict(zip(names, rows, strict=True))
    mean = by_name["one", "table", "levels", "cross-entropy", "Accuracy", "mean"]
    assert (mean["value"], mean["unit"]) == ("0.9", "fraction")
    n = by_name["one", "table", "levels", "cross-entropy", "Accuracy", "n"]
    assert (n["value"], n["unit"]) == ("5", "")
    assert by_name["one", "figure", "reliability", "2", "accuracy", "value"]["value"] == "0.4"
    assert by_name["one", "figure", "reliability", "0", "accuracy", "value"]["value"] == ""


def test_csv_of_nested_data_and_of_rows_with_several_names() -> None:
    given = Table(key="k", title="", caption="", columns=[Column(name=n) for n in "abc"],
                  rows=[("x", "y", 1), ("x", "z", "–")])  # fmt: skip
    data = {"p": {"q": [[1, 2], [3]]}, "one": 5, "m": Measured(0.5, math.inf, 2), "t": "text"}
    section = Section(name="s", title="", scale="", seeds=1, command="",
                      items=[given, figure("f", data=data)])  # fmt: skip
    assert to_csv([section]).splitlines()[1:] == [
        "s,table,k,x / y,c,value,1,",
        "s,figure,f,0/0,p/q,value,1,",
        "s,figure,f,0/1,p/q,value,2,",
        "s,figure,f,1/0,p/q,value,3,",
        "s,figure,f,,one,value,5,",
        "s,figure,f,,m,mean,0.5,",
        "s,figure,f,,m,std,,",
        "s,figure,f,,m,n,2,",
    ]


def test_a_file_that_is_there_is_written_again_and_no_other(tmp_path: Path) -> None:
    def made(*keys: str) -> list[Section]:
        dot = figure("dot", draw=lambda axes: axes[0].plot([0], [0], "o"), panels=1)
        return [Section(name="one", title="", scale="", seeds=5, command="x",
                        items=[*map(table, keys), dot])]  # fmt: skip

    def found() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in tmp_path.rglob("*.*")}

    light = {"report.html", "results.json", "numbers.csv"}
    write_report(tmp_path, made("a", "b"), formats=["csv"])
    assert set(found()) == light
    write_report(tmp_path, made("a"))
    assert set(found()) == light
    assert found()["numbers.csv"].decode() == to_csv(made("a"))
    write_report(tmp_path, made("a"), formats=FORMATS)
    before = found()
    pictures = {f"one-dot.{suffix}" for suffix in ("png", "svg", "pdf")}
    assert set(before) == light | pictures | {"results.md", "tables.tex"}
    write_report(tmp_path, made("a"))
    assert found() == before
    write_report(tmp_path, made("b"))
    changed = {name for name, content in found().items() if content != before[name]}
    assert changed == light | {"tables.tex"}  # results.md does not show keys of tables


def test_report_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(Recipe(model="mlp", epochs=1), Store(tmp_path / "results" / "runs"))
    folder, docs = str(tmp_path / "results"), tmp_path / "docs"
    docs.mkdir()
    readme = docs / "README.md"
    readme.write_text("<!-- softprior: runs/runs -->\n<!-- end -->\n", encoding="utf-8")
    assert main(["report", folder]) == 0
    found = {p.name for p in Path(folder).iterdir()}
    assert found == {"report.html", "results.json", "runs"}  # light, unless more is asked for
    words = ["--markdown", str(docs / "numbers.md"), "--update", str(readme)]
    assert main(["report", folder, "--formats", "latex,csv", *words]) == 0
    assert {p.name for p in Path(folder).iterdir()} == found | {"tables.tex", "numbers.csv"}
    digest = run.recipe.digest
    for file in (docs / "numbers.md", readme, Path(folder) / "tables.tex"):
        assert digest in file.read_text("utf-8")
    assert f"--markdown {docs / 'numbers.md'}`" in (docs / "numbers.md").read_text("utf-8")
    with (Path(folder) / "numbers.csv").open(newline="", encoding="utf-8") as lines:
        assert {row["row"] for row in csv.DictReader(lines)} == {
            f"{digest} / digits / mlp / cross-entropy / 0"
        }
    capsys.readouterr()
    wrong = {
        ("--formats", "docx"): "unknown format 'docx'",
        (folder, "--markdown", "x.md"): "--markdown wants one folder, got 2",
        ("--markdown", str(docs)): f"{docs}: is a directory",
        ("--update", str(docs / "none.md")): f"{docs / 'none.md'}: No such file",
        ("--update", str(docs / "numbers.md")): "there is no marker",
    }
    for options, told in wrong.items():
        assert main(["report", folder, *options]) == 2
        assert told in capsys.readouterr().err
