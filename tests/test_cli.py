"""The command line: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softprior import diagnose, penalties, priors, studies, teachers
from softprior.cli import _progress, main
from softprior.cli.dispatch import COMMANDS
from softprior.engines import Failure, LocalEngine, with_teachers
from softprior.training import Recipe, Store, images, models, presets
from softprior.training.runtime import fastest_precision

PRECISION = fastest_precision("mlp")  # what `softprior fit` takes here unless another is asked for

KEYS = [
    *("n", "classes", "accuracy", "nll", "brier", "ece", "ece_bins", "aurc"),
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
    families = [priors.found(), penalties.found(), teachers.found(), models.found()]
    families += [studies.found(), presets.found()]
    for name in (*images.NAMES, *(name for family in families for name in family)):
        assert re.search(rf"^  {name}\b", out, re.M)


@pytest.mark.parametrize("command", ["list", "fit", "study", "report", "diagnose"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f" {command}" in capsys.readouterr().out


def test_help_of_each_command_is_the_modules_own() -> None:
    for module, line in COMMANDS.values():
        doc = import_module(f"softprior.cli.{module}").__doc__
        assert doc.splitlines()[0] == line


HEAVY = ("torch", "numpy", "yaml", "matplotlib", "scipy", "sklearn", "jinja2", "rich", "pyarrow")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("", "\n  softprior fit"),
        ("--help", "\n  softprior fit"),
        ("--version", "softprior 0."),
        ("fot", "unknown command"),
        ("--foo", "unknown option"),
        ("list --help", "usage: softprior list"),
        ("list --foo", "unknown option"),
        ("study --help", "one of: amount"),
        ("study", "NAME is missing"),
        ("study smoothing --seeds x", "--seeds wants"),
        ("report --help", "usage: softprior report"),
        ("report", "DIR is missing"),
        ("diagnose --help", "usage: softprior diagnose"),
        ("diagnose --hmtl p.html p.npz", "did you mean '--html'"),
    ],
)
def test_help_and_mistakes_load_nothing_heavy(words: str, shown: str) -> None:
    """torch alone takes seconds."""
    code = (
        "import sys\nfrom softprior.cli import main\n"
        f"try:\n    main({words.split()!r})\nfinally:\n"
        f"    print('loaded', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown in done.stdout + done.stderr
    assert "loaded []" in done.stdout


def test_examples_of_the_help_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([])
    assert capsys.readouterr().out.count("\n  softprior ") == 3


@pytest.mark.parametrize("module", ["softprior", "softprior.cli"])
def test_python_m(module: str) -> None:
    words = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("softprior ")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from softprior.cli import main; sys.exit(main())"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; softprior() {{ {sys.executable} -c '{code}' \"$@\"; }}; "
         + command],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in ("list", "diagnose {}", "diagnose {} --json")
        ),
    ],
)
def test_a_closed_pipe_is_no_error(words: str, predictions: Path) -> None:
    done = shell(f"softprior {words.format(predictions)} | sleep 0")
    # argparse itself swallows what goes wrong with printing help
    assert done.returncode in ((0, 141) if words == "--help" else (141,))
    assert done.stderr == ""


def test_streams_that_are_closed_or_ascii(
    predictions: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As below, and above, without a process of their own."""

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        assert main(["diagnose", str(predictions)]) == 141
    shown = io.BytesIO()
    with io.TextIOWrapper(shown, "ascii") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert main(["diagnose", str(predictions)]) == 0
        assert shown.getvalue().isascii()
        assert b"confidence_diversity" in shown.getvalue()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("words", ["diagnose {}", "list", "fit --help"])
def test_an_ascii_terminal(words: str, predictions: Path) -> None:
    done = shell(f"softprior {words.format(predictions)}", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def test_a_terminal_of_no_width(
    predictions: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert main(["diagnose", str(predictions)]) == 0
    assert "confidence_diversity" in capsys.readouterr().out


def test_ctrl_c_while_a_command_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupts:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "softprior.cli.dispatch":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "softprior.cli.dispatch", raising=False)
    monkeypatch.delattr("softprior.cli.dispatch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "softprior: stopped\n"
    assert main(["study", "smoothing"]) == 130
    assert "finished runs are kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "prior: [beta]\n", r"c.yaml: prior must be a name, .*, got \['beta'\]"),
        ("c.json", '{"prior": 3}', r"c.json: prior must be a name, .*, got 3"),
        ("c.yaml", "- 1\n", r"c.yaml: wanted options such as 'epochs: 30', got \[1\]"),
        ("c.yaml", "epohs: 1\n", r"c.yaml: unknown option 'epohs': did you mean 'epochs'"),
        ("c.yaml", "epochs: x\n", r"c.yaml: epochs wants a whole number, got x"),
        ("c.yaml", "epochs: 0\n", r"with .*c.yaml: epochs must be an integer ≥ 1, got 0"),
        ("c.yaml", "a: [\n", r"c.yaml is neither YAML nor JSON"),
    ],
)
def test_a_mistake_in_a_config_names_the_file(
    name: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / name
    config.write_text(text)
    assert re.search(message, mistake(["fit", "--config", str(config)], capsys))


def test_a_config_may_name_the_prior_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("epochs: 1\nprior: beta\n")
    assert main(["fit", "--config", str(config), "--out", str(tmp_path)]) == 0
    assert (
        Store(tmp_path / "runs").get(
            Recipe(precision=PRECISION, epochs=1, prior=priors.BetaPrior())
        )
        is not None
    )
    out, err = capsys.readouterr()
    assert out.startswith("data: digits: ")
    assert "epoch 1 of 1" in err  # progress goes there
    assert not re.search(r" $", out, re.M)


@pytest.mark.parametrize("command", ["fit", "study smoothing"])
def test_out_is_looked_at_first(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        words = [*command.split(), "--out", str(out)]
        assert f"--out {out}: a file is in the way" in mistake(words, capsys)


def test_a_study_of_failures_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(self: Any, recipes: Any, *_: Any) -> list[Failure]:
        return [Failure(recipe, "the disk [is] full") for recipe in recipes]

    monkeypatch.setattr(LocalEngine, "run", run)
    assert main([*STUDY, str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "the disk [is] full" in err
    assert "has no complete seed of study 'smoothing' at scale smoke" in err.splitlines()[-1]


def test_a_study_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(self: Any, recipes: Sequence[Recipe], store: Store, hear: Any) -> list[Failure]:
        for recipe in with_teachers(recipes):
            hear(recipe, "epoch")
            hear(recipe, "failed")
        return [Failure(recipe, "no") for recipe in recipes]

    monkeypatch.setattr(LocalEngine, "run", run)
    monkeypatch.setattr(_progress, "EVERY", 0.0)
    assert main([*STUDY, str(tmp_path)]) == 1
    lines = re.findall(r"^run (\d+) of (\d+): epoch (\d+) of (\d+), 0:00:\d\d left$",
                       capsys.readouterr().err, re.M)  # fmt: skip
    runs, epochs = int(lines[0][1]), int(lines[0][3])
    assert [(int(a), int(c)) for a, _, c, _ in lines] == [
        (k + ended, k + 1) for k in range(runs) for ended in (0, 1)
    ]
    assert epochs > runs


def test_ties_are_told_from_what_cannot_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, shown in ((40, "−∞"), (2, "–")):
        file = tmp_path / f"{n}.npz"
        np.savez(file, logits=np.eye(3)[np.arange(n) % 3], labels=np.arange(n) % 3)
        assert main(["diagnose", str(file)]) == 0
        assert re.search(rf"^confidence_diversity +{shown} ", capsys.readouterr().out, re.M)
        assert main(["diagnose", str(file), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["confidence_diversity"] is None


def test_fit_trains_stores_and_reuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"fit --epochs 2 --prior beta --prior.a 5 --label_weight 0.4 --out {tmp_path}".split()
    words += ["--teacher", "ema"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(key in out for key in KEYS)
    recipe = Recipe(
        precision=PRECISION,
        epochs=2,
        prior=priors.BetaPrior(a=5.0),
        label_weight=0.4,
        teacher="ema",
    )
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
    first = Recipe(precision=PRECISION, epochs=1, seed=3)
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
    recipe = Recipe(precision=PRECISION, epochs=1, prior=priors.UniformPrior(0.2))
    assert Store(tmp_path / "runs").get(recipe) is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fot", r"unknown command 'fot': did you mean 'fit'\?"),
        ("study smoothin", r"unknown study 'smoothin': did you mean 'smoothing'\?"),
        ("study smoothing --sede 3", r"unknown option '--sede': did you mean '--seeds'"),
        ("study smoothing --seeds 0", r"--seeds wants a number of seeds.*, got 0"),
        ("study smoothing --workers 0", r"workers must be at least 1, got 0"),
        ("study smoothing --scale dsk", r"--scale wants one of smoke, desk, paper, got dsk$"),
        ("fit --epohs 3", r"unknown option '--epohs': did you mean '--epochs'\?"),
        ("fit --epochs many", r"--epochs wants a whole number, got many"),
        ("fit --epochs 0", r"epochs must be an integer ≥ 1, got 0"),
        ("fit --processes 0", r"--processes must be at least 1, got 0"),
        ("fit --prior betta", r"unknown prior 'betta': did you mean 'beta'\?"),
        ("fit --prior beta --prior.a -1", r"a must be a number in \(0, inf\), got -1"),
        ("fit --prior beta --prior.a big", r"--prior.a wants a number or null, got big"),
        ("fit --prior.a 3", r"--prior.a needs to know which prior: add --prior NAME"),
        ("fit --prior uniform --prior.a 3", r"unknown field of prior 'uniform' 'a'"),
        ("fit --prior teacher", r"needs a teacher"),
        ("fit --prior beta --teacher emma", r"unknown teacher 'emma': did you mean 'ema'"),
        ("fit --dataset digts", r"unknown dataset 'digts': did you mean 'digits'\?"),
        ("fit --model mpl", r"unknown network 'mpl': did you mean 'mlp'\?"),
        ("fit --learning_rate nan", r"--learning_rate wants a number, got nan"),
        ("fit --milestones 0.7,0.5", r"milestones must ascend, got \(0.7, 0.5\)"),
        ("fit --milestones=x", r"--milestones wants numbers such as 0.5,0.75, got x"),
        ("fit --label-weight x", r"--label_weight wants a number or null, got x"),
        ("fit --prior.strenght 3", r"^[^,]*did you mean '--prior.strength'( or '[^']*'){0,2}\?"),
        ("fit --prior", r"--prior needs a value"),
        ("fit --prior beta --teacher frozen", r"pass its folder, --teacher OUT/runs/<digest>"),
        ("--foo", r"unknown option '--foo': did you mean '--help' or '--version'\?"),
        ("--version=3", r"--version takes no value"),
        ("diagnose", r"FILE is missing"),
        ("diagnose --json=3 p.npz", r"--json takes no value"),
        ("diagnose p.npz q.npz", r"'q.npz' belongs to no option: softprior diagnose --help"),
        ("fit digits", r"'digits' belongs to no option: softprior fit --help lists them all"),
        ("fit --epoch 3", r"unknown option '--epoch': did you mean '--epochs'"),
        ("fit --channels_last 7", r"--channels_last wants true or false, got 7"),
        ("fit --prior.a -1e-3", r"--prior.a needs a value; write --prior.a=-1e-3 if that is one"),
        ("fit --milestones 0.5,x", r"--milestones wants numbers such as 0.5,0.75, got 0.5,x"),
        ("fit --label-weight", r"--label-weight needs a value"),
        ("fit --config nowhere.yaml", r"nowhere.yaml: No such file or directory"),
        ("report nowhere", r"nowhere is not a folder of results"),
        ("diagnose nowhere.npz", r"nowhere.npz: no such file"),
        (
            "diagnose nowhere.npz --html nowhere/p.html",
            r"nowhere/p.html: there is no folder nowhere",
        ),
        ("diagnose nowhere.npz --html .", r"\.: is a directory"),
        ("diagnose nowhere.npz --html=", r"the page's file name is empty"),
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
    assert page.read_text().count(f"Diagnosis of {predictions.name}</h") == 1
    assert f"softprior diagnose {predictions} --html {page}" in page.read_text()
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
    assert Recipe(precision=PRECISION, epochs=1, seed=1).digest in out
    assert (tmp_path / "report.html").is_file()


STUDY = ("study", "smoothing", "--scale", "smoke", "--seeds", "3", "--out")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main([*STUDY, str(folder)]) == 0
    return tables(folder)


def _wait_for_runs(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if len(list(folder.glob("runs/[0-9a-f]*"))) >= count:
            return
        assert process.poll() is None, "the study ended before it could be disturbed"
        time.sleep(0.05)
    raise AssertionError("no run was finished within five minutes")


@pytest.mark.slow
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


@pytest.mark.slow
def test_interrupt_stops_cleanly_and_keeps_what_is_finished(
    undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    process = start(*STUDY, str(tmp_path))
    _wait_for_runs(tmp_path, 2, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
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
