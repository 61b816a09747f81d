"""Every study in studies/, found by its file, runs at smoke scale."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from softprior import studies
from softprior.cli import main
from softprior.studies._kit import Claim, Difference, Measured, verdict

STUDIES = studies.found()


@pytest.mark.parametrize("name", STUDIES)
def test_docstring_has_its_four_lines(name: str) -> None:
    about = studies.about(STUDIES[name])
    assert set(about) == {"Title", "Claim", "Paper", "Run", "Cost"}
    assert all(about.values())
    assert about["Run"].startswith(f"softprior study {name}")
    assert set(STUDIES[name].SEEDS) == {"smoke", "desk", "paper"}


@pytest.mark.parametrize("name", STUDIES)
def test_smoke(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", name, "--scale", "smoke", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "report.html") in out
    study = json.loads((tmp_path / "results.json").read_text())["studies"][name]
    assert study["scale"] == "smoke"
    assert study["tables"]
    page = (tmp_path / "report.html").read_text()
    cells = [c for t in study["tables"] for row in t["rows"] for c in row if isinstance(c, dict)]
    assert cells
    for cell in cells:
        if cell["mean"] is not None:
            assert f'data-mean="{cell["mean"]!r}"' in page
    assert main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == page


def test_two_studies_share_one_report(tmp_path: Path) -> None:
    for name in ("smoothing", "generations"):
        words = ["study", name, "--scale", "smoke", "--seeds", "1", "--out", str(tmp_path)]
        assert main(words) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["studies"]) == ["generations", "smoothing"]


def test_difference_is_the_paired_t_interval() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    ours, theirs = [1.0, 2.5, 3.0, 4.5], [0.5, 2.0, 3.5, 3.0]
    difference = Difference.paired(ours, theirs)
    interval = scipy_stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert difference.mean == 0.5
    assert (difference.low, difference.high) == pytest.approx(tuple(interval))
    assert not difference.clear
    alone = Difference.paired([1.0], [0.5])
    assert alone.n == 1
    assert math.isnan(alone.low)
    assert not alone.clear


def test_measured_is_mean_and_sample_deviation() -> None:
    assert Measured.of([1.0, 3.0]) == Measured(2.0, math.sqrt(2), 2)
    assert math.isnan(Measured.of([1.0]).std)


@pytest.mark.parametrize(
    ("differences", "sign", "expected"),
    [
        ([(1, 2), (1, 3)], +1, "holds"),
        ([(1, 2), (-1, 3)], +1, "cannot tell"),
        ([(1, 2), (-3, -1)], +1, "does not hold"),
        ([(1, 2), (1, 3)], -1, "does not hold"),
        ([(-2, -1)], -1, "holds"),
        ([(math.nan, math.nan)], +1, "cannot tell"),
    ],
)
def test_verdict(differences: list[tuple[float, float]], sign: int, expected: str) -> None:
    named = {
        f"self-{i}": Difference((low + high) / 2, low, high, 5)
        for i, (low, high) in enumerate(differences)
    }
    claim = verdict("It is so.", named, sign=sign)
    assert isinstance(claim, Claim)
    assert claim.verdict == expected
    assert "self-0" in claim.evidence
