"""Every option means one thing, however it is spelled; else the right one is told."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from softprior import PosteriorLoss, beta_smoothing
from softprior.cli import _kinds, diagnose, fit, main, report, study
from softprior.cli._nearest import _ELSEWHERE
from softprior.cli._own import Own
from softprior.cli._parser import Parser
from softprior.cli._recipe_options import recipe_options
from softprior.cli._recipes import asked
from softprior.cli._target import target
from softprior.training import Recipe, presets


def parser() -> Parser:
    """Of ``fit``'s recipe."""
    made = Parser("fit", "")
    recipe_options(made, Own({}))
    return made


OPTIONS = [option[2:] for option in parser()._options if option.startswith("--")]


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("option", OPTIONS)
def test_no_option_may_be_shortened(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for end in {1, len(option) // 2, len(option) - 1}:
        short = option[:end]
        if short not in OPTIONS and short not in ("h", "prior.", "penalty.", "teacher."):
            assert re.search(
                r"unknown option|takes no value", refused(["fit", f"--{short}", "1"], capsys)
            )


@pytest.mark.parametrize("option", OPTIONS)
def test_a_near_miss_leads_to_the_option(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    swapped = option[:-2] + option[-1] + option[-2]
    for wrong in {swapped, option + "s", option.upper()} - set(OPTIONS):
        if len(option) > 3:
            assert f"'--{option}'" in refused(["fit", f"--{wrong}", "1"], capsys)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(name, ours) for ours, names in _ELSEWHERE.items() for name in names.split()],
)
def test_other_programs_names_lead_to_ours(
    theirs: str, ours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = next((c for c in ("fit", "study", "report") if ours in known(c)), None)
    assert command is not None, ours
    words = [command, "x"] if command != "fit" else ["fit"]
    if theirs in known(command):
        return  # an option of its own there
    for spelling in (f"--{theirs}", f"--{theirs.replace('_', '-')}=1"):
        assert f"did you mean '--{ours}'" in refused([*words, spelling], capsys)


@cache
def known(command: str) -> set[str]:
    """The options that its help lists."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return set(re.findall(r"--([a-z_.]+)", out.getvalue()))


@pytest.mark.parametrize(
    "words",
    [
        "--epochs 3 --epochs 4",
        "--epochs=3 --epochs 4",
        "--learning_rate 1 --learning-rate 2",
        "--prior beta --prior.name uniform",
        "--cpu true --cpu false",
        "--prior.a 3 --prior.a=4",
    ],
)
def test_an_option_of_two_values(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is given twice, as " in refused(["fit", *words.split()], capsys)
    first, _, _ = words.partition(" --")
    assert fit.options([*first.split(), *first.split()])  # the same twice is one


PATHS = ["out", "dataset", "model", "prior", "teacher", "penalty", "config"]


@pytest.mark.parametrize("spelling", ["--{0}={1}", "--{0} {1}", "file"])
@pytest.mark.parametrize("option", PATHS)
def test_home_is_home_in_every_option(
    option: str, spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.yaml").write_text("epochs: 3\n")
    if option == "config" and spelling == "file":
        return
    if spelling == "file":
        (tmp_path / "c.yaml").write_text(f"{option}: ~/x.yaml\n")
        words = ["--config", "~/c.yaml"]
    else:
        words = spelling.format(option, "~/x.yaml").split()
    read = vars(fit.options(words))
    value = read[option]
    if option == "config":
        assert read["epochs"] == 3
    else:
        assert str(value["name"] if isinstance(value, dict) else value) == str(tmp_path / "x.yaml")


def test_home_is_home_in_other_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = diagnose.options(["~/p.npz", "--html=~/p.html"])
    assert (found.file, found.html) == (tmp_path / "p.npz", f"{tmp_path}/p.html")
    shown = report.options(["~/r", "~/s", "--markdown=~/m.md", "--update=~/u.md"])
    assert shown.folders == [tmp_path / "r", tmp_path / "s"]
    assert (shown.markdown, shown.update) == (tmp_path / "m.md", tmp_path / "u.md")
    asked_for = study.options(["~/mine.py", "--dataset=~/d", "--out=~/o"])
    assert (asked_for.names, asked_for.dataset) == ([f"{tmp_path}/mine.py"], f"{tmp_path}/d")
    assert asked_for.out == tmp_path / "o"


@pytest.mark.parametrize("path", ["~", "~nobody-of-that-name/x", "~/x", "a~b", ""])
def test_no_home_is_no_error(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert _kinds.PATH.read("--out", path) == Path(path)
    assert _kinds.NAME.read("--dataset", path) == (
        path if not path.startswith("~") else str(Path(path))
    )


def test_several_studies_stand_anywhere() -> None:
    for words in (
        ["smoothing", "instance", "--seeds", "1"],
        ["--seeds", "1", "smoothing", "instance"],
        ["smoothing", "--seeds", "1", "instance"],
    ):
        assert study.options(words).names == ["smoothing", "instance"]


def test_the_prior_by_its_name_is_the_loss_by_its_name() -> None:
    """``fit --prior beta`` and ``beta_smoothing()``: the usual mix."""
    (recipe,) = asked(fit.options(["--prior", "beta"]))
    assert recipe.prior is not None
    criterion, named = PosteriorLoss(recipe.prior), beta_smoothing()
    assert criterion.prior == named.prior
    assert criterion.label_weight == named.label_weight == recipe.effective_label_weight == 0.4
    assert "0.4 of the label + 0.6 of Beta" in target(recipe)
    assert "smoothing 0.15 on average" in target(recipe)


@pytest.mark.parametrize("name", presets.found())
def test_every_preset_has_a_target_in_one_line(name: str) -> None:
    for recipe in asked(fit.options(["--preset", name, "--dataset", "digits"])):
        assert target(recipe).startswith("target: ")
        assert "\n" not in target(recipe)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", "the label alone"),
        ("--penalty confidence", "beside it a penalty"),
        ("--prior uniform --prior.strength 0.2", r"0.8 of the label \+ 0.2 of .*at most 0.2"),
        ("--prior uniform --prior.strength 1 --label_weight 1", "0.5 of the label"),
        ("--prior beta --label_weight 1 --prior.strength 1", "smoothing 0.125 on average"),
        ("--prior teacher --teacher ema", "as the teacher's probabilities have it"),
        ("--prior pskd --teacher previous_epoch", "changes as it trains"),
    ],
)
def test_targets(words: str, wanted: str) -> None:
    (recipe,) = asked(fit.options(words.split()))
    assert re.search(wanted, target(recipe))


def test_a_default_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from softprior.training import fit as train

    monkeypatch.chdir(tmp_path)
    recipe = Recipe(epochs=1)
    with pytest.warns(UserWarning, match="no store was named: the run goes to .*results"):
        run = train(recipe)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again: Any = [train(recipe, where) for where in ("results/runs", Path("results/runs"))]
    assert {r.path.resolve() for r in again} == {run.path.resolve()}
