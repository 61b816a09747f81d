"""The command line: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softprior import diagnose, priors, studies, teachers
from softprior.cli import main
from softprior.training import Recipe, Store, images, models

KEYS = [
    *("n", "classes", "accuracy", "nll", "brier", "ece", "ece_bins"),
    *("predictive_uncertainty", "confidence_diversity", "confidence_variance", "tied_share"),
    *("temperature", "nll_scaled", "ece_scaled"),
]


def mistake(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run, expect exit code 2 and one line on stderr, and return it."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("softprior: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys; from softprior.cli import main; sys.exit(main())"]
    return subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that runs the tests in the background has told its children to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def tables(folder: Path) -> dict[str, Any]:
    """Everything measured: results.json without when and how fast."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    for study in results["studies"].values():
        study.pop("facts")
    return results


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    logits = rng.normal(size=(300, 4)) + 3 * np.eye(4)[labels]
    file = tmp_path / "predictions.npz"
    np.savez(file, logits=logits, labels=labels)
    return file


def test_list_shows_every_member(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    families = (priors.found(), teachers.found(), images.NAMES, models.found(), studies.found())
    for name in (name for family in families for name in family):
        assert re.search(rf"^  {name}\b", out, re.M)


@pytest.mark.parametrize("command", ["list", "fit", "study", "report", "diagnose"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f" {command}" in capsys.readouterr().out


def test_fit_trains_stores_and_reuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"fit --epochs 2 --prior beta --prior.a 5 --label_weight 0.4 --out {tmp_path}".split()
    words += ["--teacher", "ema"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(key in out for key in KEYS)
    recipe = Recipe(epochs=2, prior=priors.BetaPrior(a=5.0), label_weight=0.4, teacher="ema")
    run = Store(tmp_path / "runs").get(recipe)
    assert run is not None
    written = (run.path / "weights.safetensors").stat().st_mtime_ns
    assert main(words) == 0
    assert (run.path / "weights.safetensors").stat().st_mtime_ns == written


def test_a_finished_run_can_be_the_config_and_the_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert main(["fit", "--epochs", "1", "--seed", "3", *out]) == 0
    first = Recipe(epochs=1, seed=3)
    folder = tmp_path / "runs" / first.digest
    again = ["fit", "--config", str(folder / "recipe.json")]
    assert main([*again, *out]) == 0  # the same run: nothing is trained
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert main([*again, "--prior", "teacher", "--teacher", str(folder), *out]) == 0
    runs = list(Store(tmp_path / "runs").runs())
    assert {run.recipe.generation for run in runs} == {0, 1}
    taught = next(run for run in runs if run.recipe.generation == 1)
    assert taught.recipe.teacher == first
    # ... and a recipe with a teacher in it is a config as well
    assert main(["fit", "--config", str(taught.path / "recipe.json"), *out]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_print_config_is_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--epochs", "1", "--prior", "uniform", "--prior.strength", "0.2"]
    with pytest.raises(SystemExit):
        main([*words, "--print-config"])
    config = tmp_path / "recipe.yaml"
    config.write_text(capsys.readouterr().out)
    assert main(["fit", "--config", str(config), "--out", str(tmp_path)]) == 0
    recipe = Recipe(epochs=1, prior=priors.UniformPrior(0.2))
    assert Store(tmp_path / "runs").get(recipe) is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fot", r"unknown command 'fot': did you mean 'fit'\?"),
        ("study smoothin", r"unknown study 'smoothin': did you mean 'smoothing'\?"),
        ("study smoothing --sede 3", r"unknown option '--sede': did you mean '--seeds'\?"),
        ("study smoothing --seeds 0", r"--seeds must be at least 1, got 0"),
        ("study smoothing --workers 0", r"workers must be at least 1, got 0"),
        ("study smoothing --scale dsk", r"--scale wants Literal.*'desk'.*, got dsk"),
        ("fit --epohs 3", r"unknown option '--epohs': did you mean '--epochs'\?"),
        ("fit --epochs many", r"--epochs wants int, got many"),
        ("fit --epochs 0", r"epochs must be an integer ≥ 1, got 0"),
        ("fit --prior betta", r"unknown prior 'betta': did you mean 'beta'\?"),
        ("fit --prior beta --prior.a -1", r"a must be a number in \(0, inf\), got -1"),
        ("fit --prior beta --prior.a big", r"--prior.a wants float or null, got big"),
        ("fit --prior.a 3", r"--prior.a needs to know which prior: add --prior NAME"),
        ("fit --prior uniform --prior.a 3", r"unknown field of prior 'uniform' 'a'"),
        ("fit --prior teacher", r"prior 'teacher' needs a teacher"),
        ("fit --prior beta --teacher emma", r"unknown teacher 'emma': did you mean 'ema'"),
        ("fit --dataset digts", r"unknown dataset 'digts': did you mean 'digits'\?"),
        ("fit --model mpl", r"unknown network 'mpl': did you mean 'mlp'\?"),
        ("fit --config nowhere.yaml", r"nowhere.yaml"),
        ("report nowhere", r"nowhere is not a folder of results"),
        ("diagnose nowhere.npz", r"nowhere.npz"),
    ],
)
def test_a_mistake_is_one_line(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, mistake(words.split(), capsys))
    assert list(tmp_path.iterdir()) == []  # nothing was trained, nothing left


def test_diagnose_json(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(predictions), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert list(values) == KEYS
    arrays = np.load(predictions)
    logits, labels = (torch.from_numpy(arrays[name]) for name in ("logits", "labels"))
    assert values == pytest.approx(diagnose(logits, labels))
    assert values["n"] == 300
    assert values["ece_bins"] == 20


def test_diagnose_writes_a_page(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["diagnose", str(predictions), "--json", "--html", str(page)]) == 0
    json.loads(capsys.readouterr().out)  # stdout stays one JSON object
    assert page.read_text().count("<svg") == 2
    assert main(["diagnose", str(predictions)]) == 0
    assert "confidence_diversity" in capsys.readouterr().out


def _truncated(folder: Path) -> Path:
    file = folder / "p.npz"
    np.savez(file, logits=np.zeros((9, 3)), labels=np.zeros(9, int))
    file.write_bytes(file.read_bytes()[:-100])
    return file


def _csv(text: str) -> Any:
    def write(folder: Path) -> Path:
        file = folder / "p.csv"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_truncated, r"p\.npz"),
        (_csv("label,logit_0,logit_2\n0,1.0,2.0\n"), r"logit_1"),
        (_csv("label,logit_0,logit_1\n0,1.0,nan\n"), r"p\.csv.*not finite"),
        (_csv("label,prob_0,prob_1\n0,0.5,0.7\n"), r"p\.csv.*sum.*1\.2"),
        (_csv("label,logit_0,logit_1\n0,1.0,2.0\n7,1.0,2.0\n"), r"p\.csv.*7"),
    ],
    ids=["truncated", "missing column", "nan", "not probabilities", "label out of range"],
)
def test_diagnose_survives_a_bad_file(
    write: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, mistake(["diagnose", str(write(tmp_path))], capsys))


def test_report_of_single_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        assert main(["fit", "--epochs", "1", "--seed", str(seed), "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert Recipe(epochs=1, seed=1).digest in out
    assert (tmp_path / "report.html").is_file()


STUDY = ("study", "smoothing", "--scale", "smoke", "--seeds", "3", "--out")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main([*STUDY, str(folder)]) == 0
    return tables(folder)


def _wait_for_runs(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if len(list(folder.glob("runs/[0-9a-f]*"))) >= count:
            return
        assert process.poll() is None, "the study ended before it could be disturbed"
        time.sleep(0.05)
    raise AssertionError("no run was finished within a minute")


@pytest.mark.parametrize("finished", [0, 1, 5])
def test_kill_and_repeat_gives_what_an_undisturbed_study_gives(
    finished: int, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    process = start(*STUDY, str(tmp_path))
    if finished:
        _wait_for_runs(tmp_path, finished, process)
    else:
        time.sleep(1.0)  # somewhere in the start
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "results.json").exists()
    assert main([*STUDY, str(tmp_path)]) == 0
    assert tables(tmp_path) == undisturbed
    assert list(tmp_path.glob("runs/.*")) == []


def test_interrupt_stops_cleanly_and_keeps_what_is_finished(
    undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    process = start(*STUDY, str(tmp_path))
    _wait_for_runs(tmp_path, 2, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "finished runs are kept" in out
    assert "Traceback" not in out
    assert not _workers(tmp_path)
    assert main([*STUDY, str(tmp_path)]) == 0
    assert tables(tmp_path) == undisturbed


def _workers(folder: Path) -> list[str]:
    """Command lines of workers that still write to this folder."""
    if not os.path.isdir("/proc/self"):
        return []
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if "softprior.engines.worker" in line and str(folder) in line]
