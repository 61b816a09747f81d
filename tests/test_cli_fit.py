"""``softprior fit``: presets, chains, teachers from elsewhere, and what it tells on the way."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from softprior import EMA, ConfidencePenalty, diagnostics, priors
from softprior.cli import _progress, _train, fit, main
from softprior.cli._events import SCALARS, Events
from softprior.training import (
    OwnData,
    Pretrained,
    Recipe,
    Run,
    Store,
    ensemble,
    generations,
    presets,
)

VOTES = priors.TeacherPrior(strength=1.0, temperature=1.0)
PLAIN = ("--precision", "fp32")


def trained(words: str, out: Path) -> list[Run]:
    """Run a command that is to succeed; every run of the store, earlier generations first."""
    assert main(["fit", *words.split(), *PLAIN, "--out", str(out)]) == 0
    return sorted(Store(out / "runs").runs(), key=lambda run: run.recipe.generation)


def written(out: Path) -> dict[str, int]:
    """When each run's weights were written."""
    return {p.parent.name: p.stat().st_mtime_ns for p in out.glob("runs/*/weights.safetensors")}


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a mistake."""
    capsys.readouterr()
    assert main(["fit", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


# --- presets, files, options ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "config", "wanted"),
    [
        (["--epochs", "1"], "epochs: 2\nseed: 2\n", {"epochs": 1, "seed": 2}),
        (["--seed=1"], "preset: desk\nepochs: 2\n", {"epochs": 2, "seed": 1, "batch_size": 128}),
        (["--preset", "desk"], "epochs: 2\n", {"epochs": 2, "augment": "flip"}),
        (["--epochs=3", "--preset=desk"], "augment: crop\n", {"epochs": 3, "augment": "crop"}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_options_win_over_files_and_files_over_presets(
    words: list[str],
    config: str,
    wanted: dict[str, Any],
    turned: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(config)
    words = [*(["--config", str(file)] if turned else []), *words]
    words += [] if turned else ["--config", str(file)]
    values = printed(words, capsys)
    assert {name: values[name] for name in wanted} == wanted


def printed(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The options as the parser has them in the end."""
    import yaml

    with pytest.raises(SystemExit, match="0"):
        main(["fit", *words, "--print-config"])
    values: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return values


@pytest.mark.parametrize("preset", presets.found())
def test_a_preset_is_the_recipe_of_that_name(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = presets.recipe(preset, model="mlp", epochs=1, subset=None, augment="none")
    words = f"--preset {preset} --model mlp --epochs 1 --subset null --augment none"
    assert trained(words, tmp_path)[-1].recipe == wanted
    assert main(["list"]) == 0
    assert re.search(rf"^  {preset} ", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(
    ("words", "config", "prior"),
    [
        ("--prior uniform --preset paper-resnet34-beta", "", {"name": "uniform"}),
        ("--prior.a 5 --preset paper-resnet34-beta", "", {"name": "beta", "strength": 0.6, "a": 5}),
        ("--prior.a 5 --prior beta", "", {"name": "beta", "a": 5}),
        ("--prior uniform", "prior: {name: beta, a: 5}", {"name": "uniform"}),
        ("--prior beta", "prior: {name: beta, a: 5}", {"name": "beta", "a": 5}),
        ("--preset paper-resnet34-beta", "prior: uniform", {"name": "uniform"}),
        ("--preset paper-resnet34-beta", "prior: null", {}),
        ("--preset paper-resnet34-ls", "prior: {strength: 0.1}",
         {"name": "uniform", "strength": 0.1, "spread": "others"}),
        ("", "{preset: paper-resnet34-beta, prior: {a: 5}}",
         {"name": "beta", "strength": 0.6, "a": 5}),
    ],
)  # fmt: skip
def test_another_prior_takes_the_place_of_all_of_the_first(
    words: str,
    config: str,
    prior: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(config or "{}")
    values = printed([*words.split(), "--config", str(file)], capsys)
    assert {k: v for k, v in (values["prior"] or {}).items() if v is not None} == prior


def test_every_example_of_the_help_is_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").touch()
    lines = fit.EXAMPLES.replace("\\\n", "").splitlines()
    examples = [shlex.split(line)[2:] for line in lines if line.startswith("  softprior fit ")]
    assert len(examples) == 9
    assert "mine.py: there is no such file" in told(capsys, *examples.pop())
    for words in examples:
        assert "unknown dataset 'photos'" in told(
            capsys, *(word.replace("cifar100", "photos") for word in words)
        )
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    assert capsys.readouterr().out.endswith(fit.EXAMPLES)


# --- chains --------------------------------------------------------------------------------


def test_a_chain_is_that_of_generations_and_grows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = trained("--epochs 2 --generations 2", tmp_path)
    assert [run.recipe for run in runs] == list(generations(Recipe(epochs=2), VOTES, 2))
    before = written(tmp_path)
    capsys.readouterr()
    runs = trained("--epochs 2 --generations 4", tmp_path)
    assert [run.recipe for run in runs] == list(generations(Recipe(epochs=2), VOTES, 4))
    assert before.items() < written(tmp_path).items()
    assert "generation 1 of" not in capsys.readouterr().err
    trained("--epochs 2 --generations 4", tmp_path)
    out, err = capsys.readouterr()
    assert err == ""  # nothing is left to train
    assert out.count("\nrun: ") == 4
    for k, run in enumerate(runs, 1):
        test, train = run.predictions("test"), run.predictions("train")
        row = (
            f"{k} .*{diagnostics.nll(*test):.4f} .*{diagnostics.predictive_uncertainty(*train):.4f}"
        )
        assert re.search(f"^{row}", out, re.M)
        both = ensemble(runs[:k], "test")
        assert re.search(
            f"^{k} +{100 * diagnostics.accuracy(*both):.2f} +{diagnostics.nll(*both):.4f}",
            out,
            re.M,
        )


def test_one_generation_is_cross_entropy_and_a_prior_is_the_students(tmp_path: Path) -> None:
    assert trained("--epochs 1 --generations 1", tmp_path / "a")[0].recipe == Recipe(epochs=1)
    runs = trained(
        "--epochs 15 --generations 3 --prior teacher --prior.strength 0.4 --label_weight 0.6 "
        "--match_smoothing 0.2",
        tmp_path / "b",
    )
    assert runs[0].recipe == Recipe(epochs=15)
    assert {run.recipe.effective_label_weight for run in runs[1:]} == {0.6}
    assert {run.recipe.match_smoothing for run in runs[1:]} == {0.2}
    ranked = trained("--epochs 1 --generations 2 --prior beta --label_weight 0.4", tmp_path / "c")
    assert isinstance(ranked[-1].recipe.prior, priors.BetaPrior)


def test_a_finished_cross_entropy_run_is_the_first_of_a_chain(tmp_path: Path) -> None:
    first = trained("--epochs 1 --seed 2", tmp_path)[0]
    before = written(tmp_path)
    config = first.path / "recipe.json"
    runs = trained(f"--config {config} --generations 2", tmp_path)
    assert [run.recipe for run in runs] == list(generations(first.recipe, VOTES, 2))
    assert before.items() < written(tmp_path).items()


def test_another_data_set_than_a_file_s(tmp_path: Path) -> None:
    """The fingerprint in a stored recipe is of its own data."""
    rng = np.random.default_rng(0)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        pixels = rng.integers(0, 256, (24, 4, 4), dtype=np.uint8)
        own_data = OwnData.of((pixels, np.arange(24) % 2))
        own_data.write(folder)
    (first,) = trained(f"--epochs 1 --dataset {next(folders[0].iterdir())}", tmp_path)
    config = first.path / "recipe.json"
    for words in (f"--config {config} --dataset", f"--epochs 1 --config={config} --dataset"):
        runs = trained(f"{words} {next(folders[1].iterdir())}", tmp_path)
        assert len(runs) == 2
    assert len({run.recipe.fingerprint for run in runs}) == 2


@pytest.mark.parametrize(
    ("select", "words"),
    [("best", "the epoch with the best validation accuracy"), ("last", "the last epoch")],
)
def test_tables_say_which_epoch_they_are_of(
    select: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(f"--epochs 1 --generations 2 --select {select}", tmp_path)
    assert f"Of {words}." in " ".join(capsys.readouterr().out.split())
    assert main(["report", str(tmp_path)]) == 0
    assert f"Test set, {words}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--generations 0", "--generations must be at least 1, got 0"),
        ("--generations 3 --teacher ema", "the one before as its teacher: leave --teach"),
        (
            "--generations 3 --teacher_model mlp",
            "the one before as its teacher: leave --teach",
        ),
        ("--generations 3 --prior uniform", "prior 'uniform' asks no teacher"),
        ("--generations 3 --prior none", "prior 'none' asks no teacher"),
        ("--prior none --prior.strength 0.3", "--prior.strength belongs to a prior, and --prior i"),
        ("--penalty none --penalty.weight 1", "--penalty.weight belongs to a penalty, and --penal"),
        ("--generations 3 --teacher.decay 0.9", "--teacher.decay needs to know which teacher"),
        ("--teacher emma --prior beta", "unknown teacher 'emma': did you mean 'ema'"),
        ("--prior betta", "unknown prior 'betta': did you mean 'beta'"),
        ("--penalty confidance", "unknown penalty 'confidance': did you mean 'confidence'"),
        ("--teacher ema --teacher.decy 0.9", "did you mean '--teacher.decay'"),
        ("--teacher memory --teacher.decay 0.9 --prior beta", "unknown field of teacher 'memory'"),
        ("--teacher . --teacher.decay 0.9 --prior beta", "--teacher.decay is an option of ema"),
        ("--prior nowhere:Name", "there is no module 'nowhere' to import"),
        ("--prior nowhere.py:Name", "nowhere.py: there is no such file"),
        ("--prior json:JSONDecoder", "must be a subclass of softprior's Prior"),
        ("--model json:Decoder", "unknown name in json 'Decoder': known are 'detect_encoding'"),
        ("--generations x", "--generations wants a whole number or null, got x"),
        ("--preset desc", "unknown preset 'desc': did you mean 'desk'"),
        ("--preset", "--preset needs a value"),
        ("--teacher_model mlp", "--teacher_model goes with a file of weights"),
        ("--teacher ema --prior beta --teacher_model mlp", "--teacher_model goes with a file"),
        ("--teacher no.pt --prior beta", "no.pt cannot be read: No such file"),
        ("--teacher no.pt --prior beta --teacher_model mpl", "unknown network 'mpl'"),
        ("--checkpoint_minutes 0", "--checkpoint_minutes must be above 0, got 0"),
        ("--precision fp16", "--precision wants one of auto, fp32, bf16, got fp16"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pt").touch()
    assert message in told(capsys, *words.replace("no.pt --prior beta --t", "empty.pt --t").split())
    assert not (tmp_path / "results").exists()


# --- teachers from elsewhere ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "recipe.json"])
def test_a_teacher_of_another_store_is_adopted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = trained("--epochs 1", tmp_path / "there")[0]
    capsys.readouterr()
    words = f"--epochs 1 --prior teacher --label_weight 0.6 --teacher {there.path / name}"
    adopted, student = trained(words, tmp_path / "here")
    assert adopted.recipe == there.recipe == student.recipe.teacher
    same = (adopted.path / "provenance.json", there.path / "provenance.json")
    assert same[0].read_bytes() == same[1].read_bytes()  # a second training has its own time
    assert "generation 1 of" not in capsys.readouterr().err


def test_a_teacher_whose_own_teacher_is_gone(tmp_path: Path) -> None:
    grand, there = trained("--epochs 1 --generations 2", tmp_path / "there")
    words = f"--epochs 1 --prior teacher --label_weight 0.6 --teacher {there.path}"
    runs = trained(words, tmp_path / "here")
    assert grand.recipe not in [run.recipe for run in runs]
    assert runs[-1].recipe.teacher == there.recipe


def test_a_live_teacher_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ema").mkdir()
    run = trained("--epochs 1 --prior beta --label_weight 0.4 --teacher ema", tmp_path / "out")[0]
    assert run.recipe.teacher == EMA()


def test_a_folder_whose_name_looks_like_ones_own(tmp_path: Path) -> None:
    there = trained("--epochs 1", tmp_path / "there")[0]
    folder = shutil.copytree(there.path, tmp_path / "seed:1" / "run")
    student = trained(f"--epochs 1 --prior teacher --teacher {folder}", tmp_path / "here")[-1]
    assert student.recipe.teacher == there.recipe


def test_a_damaged_teacher_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = trained("--epochs 1", tmp_path / "there")[0]
    (there.path / "best.safetensors").write_bytes(b"")
    words = f"--epochs 1 --prior teacher --label_weight 0.6 --teacher {there.path}"
    assert "is damaged" in told(capsys, *words.split(), "--out", str(tmp_path / "here"))


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_weights_from_elsewhere_teach(kind: str, tmp_path: Path) -> None:
    there = trained("--epochs 1", tmp_path / "there")[0]
    file = tmp_path / f"weights.{kind}"
    if kind == "pt":
        torch.save(there.weights(), file)
    else:
        safetensors.torch.save_file(there.weights(), file)
    words = f"--epochs 1 --prior teacher --label_weight 0.6 --teacher {file} --teacher_model mlp"
    student = trained(words, tmp_path / "here")[0]
    assert student.recipe.teacher == Pretrained.of(file, "mlp")
    by_run = trained(words.replace(f"{file} --teacher_model mlp", str(there.path)), tmp_path / "b")
    mine, theirs = student.predictions("test")[0], by_run[-1].predictions("test")[0]
    assert torch.equal(mine, theirs)  # the same teacher by another name


# --- what is told on the way ---------------------------------------------------------------


def test_lines_for_a_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--epochs 3 --generations 2"
    trained(words, tmp_path / "a")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # how it is executed, towards what, and the end
    assert lines[1].startswith("softprior: target: ")
    shape = (
        r"generation \d of 2: epoch \d of 3, [\d,]+ images/s, 0:00:\d\d left, "
        r"loss \d\.\d{3}, validation \d+\.\d%"
    )
    assert re.fullmatch(shape, lines[2])
    monkeypatch.setattr(_progress, "EVERY", 0.0)
    trained(words, tmp_path / "b")
    lines = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    assert [line.split(",")[0] for line in lines] == [
        f"generation {g} of 2: epoch {e} of 3" for g in (1, 2) for e in (0, 1, 2, 3)
    ]
    assert all(re.fullmatch(shape, line) for line in lines if "epoch 0" not in line)


def test_lines_come_every_half_minute_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with pytest.raises(KeyError), _progress.progress() as show:  # noqa: PT012
        for done in range(1, 14):
            now += 10
            show("images", done, 20, "")
        raise KeyError
    assert re.findall(r"\d+ of", capsys.readouterr().err) == [
        "3 of",
        "6 of",
        "9 of",
        "12 of",
        "13 of",
    ]


@pytest.mark.slow
def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "softprior.cli", "fit", "--epochs", "3", *PLAIN]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=slave,
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode())
    assert done.returncode == 0
    assert re.search(r"epoch ━+ +3/3 [\d,]+ images/s, 0:00:00 left, loss .*, validation", text)


def test_how_it_is_executed_is_told_with_what_switches_it_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--epochs", "1", "--cpu", "--out", str(tmp_path)]
    assert main([*words, "--precision", "bf16"]) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert re.match(r"softprior: cpu, \d+ threads?, bf16 autocast", line)
    off = line.partition("to switch off: ")[2].split()
    assert off[:4] == ["--precision", "fp32", "--channels_last", "false"]
    assert main([*words, *off]) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert re.fullmatch(r"softprior: cpu, \d+ threads?, fp32", line)
    assert Store(tmp_path / "runs").get(Recipe(epochs=1, channels_last=False)) is not None


@pytest.mark.parametrize("fastest", ["bf16", "fp32"])
def test_precision_is_the_fastest_unless_it_is_said(
    fastest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprior.cli._recipes.fastest_precision", lambda model, cpu: fastest)
    asked = [
        (["--epochs", "1"], fastest),
        (["--epochs", "1", "--precision", "auto"], fastest),
        (["--config", str(tmp_path / "c.yaml")], "bf16"),
        (["--config", str(tmp_path / "c.yaml"), "--precision", "fp32"], "fp32"),
    ]
    (tmp_path / "c.yaml").write_text("epochs: 1\nprecision: bf16\n")
    for at, (words, precision) in enumerate(asked):
        assert main(["fit", *words, "--out", str(tmp_path / str(at))]) == 0
        (run,) = Store(tmp_path / str(at) / "runs").runs()
        assert run.recipe.precision == precision


def test_blocks_are_kept_unless_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(_train, "keep_blocks", lambda: calls.append(1) or True)
    trained("--epochs 1 --keep_blocks false", tmp_path)
    assert calls == []
    trained("--epochs 1 --keep_blocks true --seed 1", tmp_path)
    assert calls == [1]


# --- stopped runs --------------------------------------------------------------------------


def start(out: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "softprior.cli", "fit", *words, *PLAIN, "--out", str(out)]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has told its children to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def disturbed(out: Path, recipe: Recipe, process: subprocess.Popen[str], how: int) -> str:
    """Send a signal once a few epochs and a checkpoint are written; what the process said."""
    partial = Store(out / "runs").partial(recipe)
    for _ in range(15_000):
        history = partial / "history.jsonl"
        epochs = len(history.read_text("utf-8").splitlines()) if history.is_file() else 0
        if epochs >= 3 and list(partial.glob("*/state.json")):
            break
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.02)
    process.send_signal(how)
    return process.communicate(timeout=300)[1]


STOPPED = (
    "softprior: stopped; finished runs are kept, and the same command goes on from the last "
    "checkpoint"
)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    words = ("--epochs", "400", "--checkpoint_minutes", "0.001")
    process = start(tmp_path, *words)
    said = disturbed(tmp_path, Recipe(epochs=400), process, signal.SIGINT)
    assert process.returncode == 130
    assert said.splitlines()[-1] == STOPPED
    assert "Traceback" not in said


def test_an_interrupt_in_training_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the same command does: it ends with what an undisturbed one has."""
    words = ["fit", "--epochs", "3", *PLAIN, "--out", str(tmp_path)]
    write, seen = Store.write_history, 0

    def interrupted(store: Store, recipe: Recipe, history: Any) -> None:
        nonlocal seen
        write(store, recipe, history)
        seen += 1
        if seen == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_history", interrupted)
    assert main(words) == 130
    assert capsys.readouterr().err.splitlines()[-1] == STOPPED
    assert list(Store(tmp_path / "runs").runs()) == []
    assert main(words) == 0
    (run,) = Store(tmp_path / "runs").runs()
    assert [row["epoch"] for row in run.history] == [1, 2, 3]


@pytest.mark.slow
def test_events_of_a_run_that_was_killed_are_those_of_its_history(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("--epochs", "60", "--checkpoint_minutes", "0.001", "--tensorboard")
    recipe = Recipe(epochs=60)
    disturbed(tmp_path, recipe, start(tmp_path, *words), signal.SIGKILL)
    time.sleep(1.1)  # files of events are read in the order of the seconds in their names
    assert main(["fit", *words, *PLAIN, "--out", str(tmp_path)]) == 0
    run = Store(tmp_path / "runs").get(recipe)
    assert run is not None
    folder = tmp_path / "tensorboard" / recipe.digest
    assert len(list(folder.iterdir())) == 2  # one file before, one after
    events = EventAccumulator(str(folder)).Reload()
    tags = ["images_per_second", "learning_rate", "loss", "smoothing"]
    tags += ["validation_accuracy", "validation_nll"]
    assert sorted(events.Tags()["scalars"]) == tags
    for tag in tags:
        scalars = events.Scalars(tag)
        assert [s.step for s in scalars] == list(range(1, 61))
        if tag != "images_per_second":  # epochs done twice agree in all but their speed
            wanted = [row[tag] for row in run.history]
            assert [s.value for s in scalars] == pytest.approx(wanted, rel=1e-6)


def test_events_of_epochs_that_were_never_written_are_made_up_for(tmp_path: Path) -> None:
    """Killed between its checkpoint and its events, and then once more."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows: list[dict[str, float]] = [
        {"epoch": e, "seconds": 10.0 * e, **dict.fromkeys(SCALARS, 1.0 / e)} for e in range(1, 8)
    ]
    history = tmp_path / "history.jsonl"
    for first, last in ((1, 2), (5, 5), (7, 7)):
        events = Events(tmp_path / "events", history)
        for row in rows[first - 1 : last]:
            known = rows[: int(row["epoch"])]
            history.write_text("".join(json.dumps(r) + "\n" for r in known), "utf-8")
            events.write(row)
        events.close()
        time.sleep(1.1)  # files of events are read in the order of the seconds in their names
    read = EventAccumulator(str(tmp_path / "events")).Reload().Scalars("loss")
    assert [s.step for s in read] == list(range(1, 8))
    assert [s.value for s in read] == pytest.approx([1 / e for e in range(1, 8)])
    assert read[6].wall_time - read[0].wall_time == pytest.approx(60, abs=0.1)


def test_a_missing_tensorboard_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said = told(capsys, "--tensorboard", "--out", str(tmp_path / "out"))
    assert "pip install 'softprior[tensorboard]'" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_train_a_chain(tmp_path: Path) -> None:
    words = "--epochs 1 --generations 2 --processes 2 --checkpoint_minutes 5 --keep_blocks false"
    runs = trained(words, tmp_path)
    assert [run.recipe for run in runs] == list(generations(Recipe(epochs=1), VOTES, 2))


def test_a_recipe_file_that_is_no_run_is_trained_first(tmp_path: Path) -> None:
    teacher = Recipe(epochs=1, initialisation=3)
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(teacher.to_dict()))
    runs = trained(f"--epochs 1 --prior teacher --label_weight 0.6 --teacher {file}", tmp_path)
    assert runs[0].recipe == teacher
    shutil.rmtree(runs[0].path)
    trained(f"--epochs 1 --prior teacher --label_weight 0.6 --teacher {file}", tmp_path)
    assert not runs[0].path.exists()  # nothing asks for it any more


# --- components and what is one's own --------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--prior beta", Recipe(prior=priors.BetaPrior())),
        ("--prior uniform --label_weight 0.85", Recipe(prior=priors.UniformPrior())),
        (
            "--prior beta --teacher ema --teacher.decay 0.99",
            Recipe(prior=priors.BetaPrior(), teacher=EMA(0.99)),
        ),
        (
            "--teacher.mode train --prior beta --teacher ema",
            Recipe(prior=priors.BetaPrior(), teacher=EMA(mode="train")),
        ),
        ("--penalty confidence --penalty.weight 0.2", Recipe(penalty=ConfidencePenalty(0.2))),
        (
            "--penalty confidence --prior uniform",
            Recipe(penalty=ConfidencePenalty(), prior=priors.UniformPrior()),
        ),
    ],
)
def test_components_by_name(words: str, wanted: Recipe, tmp_path: Path) -> None:
    (run,) = trained(f"--epochs 1 {words}", tmp_path)
    assert run.recipe == replace(wanted, epochs=1)


MINE = """
from dataclasses import dataclass
from torch import nn
from softprior import Prior, TwoLevel

@dataclass(frozen=True)
class Mine(Prior):
    strength: float = 0.2
    share: float = 0.5

    def counts(self, batch):
        off = self.strength * (1 - self.share) / (batch.num_classes - 1)
        return TwoLevel(self.strength * self.share, off)

def network(shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], num_classes))
"""


@pytest.fixture
def mine(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file of its own for each test: what is imported stays imported."""
    file = tmp_path / f"mine_{abs(hash(request.node.nodeid))}.py"
    file.write_text(MINE)
    return file


OWN = "--prior {0}:Mine --prior.share 0.7 --model {0}:network"


@pytest.mark.slow
def test_ones_own_in_two_processes(mine: Path, tmp_path: Path) -> None:
    own = f"--epochs 1 {OWN.format(mine)}"
    alone, together = trained(own, tmp_path / "a"), trained(f"{own} --processes 2", tmp_path / "b")
    assert [run.path.name for run in alone] == [run.path.name for run in together]


def test_ones_own_by_the_file(mine: Path, tmp_path: Path) -> None:
    alone = trained(f"--epochs 1 {OWN.format(mine)}", tmp_path / "a")
    stored = json.loads((alone[0].path / "recipe.json").read_text())
    assert stored["prior"]["name"] == f"{mine.stem}:Mine"
    assert stored["prior"]["share"] == 0.7
    assert set(stored["model"]) == {"name", "source"}


@pytest.mark.filterwarnings("default:the source of .* has changed")
def test_a_stored_file_imports_nothing(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what is named in the call; then the run is found again, or another if it changed."""
    out = tmp_path / "out"
    own = f"--prior {mine}:Mine --model {mine}:network"
    (run,) = trained(f"--epochs 1 {own}", out)
    recipe = run.path / "recipe.json"
    message = told(capsys, "--config", str(recipe), "--out", str(out))
    assert f"prior {mine.stem}:Mine is somebody's own" in message
    assert f"add --prior {mine.stem}:Mine" in message
    again = f"--prior {mine.stem}:Mine --model {mine.stem}:network"
    before = written(out)
    for named in (again, own):
        assert len(trained(f"--config {recipe} {named}", out)) == 1
    assert written(out) == before
    mine.write_text(MINE + "# changed\n")
    monkeypatch.delitem(sys.modules, mine.stem)  # as in another process
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["fit", "--config", str(recipe), *again.split(), "--out", str(out)]) == 0
    assert capsys.readouterr().err.count("has changed since run") == 1
    assert len(written(out)) == 2
