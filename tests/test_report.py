"""The report: the page, the JSON file and the terminal say the same numbers, and say them well."""

from __future__ import annotations

import html
import io
import json
import math
import os
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

from softprior.report import Section, png, render, svg, to_json, write_json, write_report
from softprior.report.cells import heading, note, read
from softprior.report.diagnosis import diagnosis_section
from softprior.report.results import replace_text
from softprior.report.terminal import show
from softprior.studies._drawing import (
    confidence_histogram,
    curve_with_band,
    legend_beside,
    reliability_diagram,
)
from softprior.studies._kit import COLOURS, Claim, Column, Difference, Figure, Measured, Table

EVIL = "<script>alert(1)</script> & \"quotes\" 'too'"
METHODS = list(COLOURS)
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


def table(key: str = "levels", caption: str = "Synthetic.") -> Table:
    rows = [
        (
            name,
            Measured(0.9 + i / 97, 0.004 + i / 1e4, 5),
            Measured(0.1 * i + 1 / 3, math.nan, 1),
            Difference(-0.02 + i / 83, -0.03 + i / 83, -0.01 + i / 83, 5),
            Difference(0.01, math.nan, math.nan, 1),
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
    def draw(axes: Sequence[Any]) -> None:
        x = list(range(1, 11))
        for name in METHODS:
            curve_with_band(
                axes[0],
                x,
                [v / 10 for v in x],
                [0.1] * 9 + [math.nan],
                colour=COLOURS[name],
                label=name,
                xlabel="Generation",
                ylabel="Score",
            )
        legend_beside(axes[0])
        confidence_histogram(axes[1], [0.0, 0.5, 0.99, 1.0], colour="#000000")

    return figure("curves", draw=draw, panels=2, size=(7.2, 3.4))


def sections() -> list[Section]:
    claims = [
        Claim(text="It works.", verdict="holds", evidence="+1.00 [+0.50, +1.50]"),
        Claim(text="It always works.", verdict="does not hold", evidence="−1.00"),
        Claim(text=EVIL, verdict="cannot tell", evidence="0.00 [−1.00, +1.00]"),
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
        (Difference(0.0012, -0.0031, 0.0055, 5), Column(name="a", percent=True, better="high"),
         "+0.12 [−0.31, +0.55]"),
        (Difference(0.5, 0.25, 0.75, 5), Column(name="a", better="high"),
         "+0.50 [+0.25, +0.75] better"),
        (Difference(0.5, 0.25, 0.75, 5), Column(name="a", better="low"),
         "+0.50 [+0.25, +0.75] worse"),
        (Difference(-0.5, -0.75, -0.25, 5), Column(name="a", better="low"),
         "−0.50 [−0.75, −0.25] better"),
        (Difference(-0.5, -0.75, -0.25, 5), Column(name="a"), "−0.50 [−0.75, −0.25] differs"),
        (Difference(0.002, 0.001, 0.003, 5), Column(name="a"), "+0.00 [+0.00, +0.00] differs"),
        (Difference(0.5, math.nan, math.nan, 1), Column(name="a", better="high"), "+0.50"),
        (Difference(0.0, 0.0, 0.0, 5), Column(name="a"), "0.00 [0.00, 0.00]"),
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


def test_png_is_a_picture() -> None:
    assert png(curves()).startswith(b"\x89PNG")


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
