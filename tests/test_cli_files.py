"""Whatever a file holds that a command reads: understood, or told in one line with its path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprior.cli import fit as fit_options
from softprior.cli import main
from softprior.training import Recipe, Run, Store, checkpoint, fit
from softprior.training.files import read_json

DEEP = "[" * 200_000
MALFORMED: dict[str, bytes] = {
    "deep list": DEEP.encode(),
    "deep object": b'{"a":' * 100_000,
    "empty": b"",
    "binary": bytes(range(256)),
    "list": b"[]",
    "number": b"3",
    "null": b"null",
    "text": b'"recipe"',
    "foreign": b'{"name": "left-pad", "version": "1.0.0"}',
    "foreign studies": b'{"studies": {"a": {"asked": {"study": "smoothing"}}}}',
    "studies of numbers": b'{"studies": 3}',
    "deep teacher": b'{"teacher": ' * 900 + b'"ema"' + b"}" * 900,
    "wrong types": b'{"format": 2, "dataset": [], "model": {}, "prior": {"name": {}}}',
    "long number": b'{"seed": ' + b"9" * 5000 + b"}",
    "truncated": b'{"dataset": "digits", "epo',
}


@pytest.fixture(scope="module")
def finished(trained: Callable[[Recipe], Run]) -> Path:
    return trained(Recipe(epochs=1)).path


def line(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Expects a refusal in one line."""
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("softprior: ")
    assert "Traceback" not in err
    assert "nobody has foreseen" not in err
    last = err.strip().splitlines()[-1]
    assert len(last) < 1000
    return last


@pytest.mark.parametrize("content", MALFORMED)
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_config_of_anything(
    content: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"c.{suffix}"
    file.write_bytes(MALFORMED[content])
    assert str(file) in line(["fit", "--config", str(file), "--out", str(tmp_path / "o")], capsys)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("content", MALFORMED)
def test_a_teacher_of_anything(
    content: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of recipes that are none; deep in the folder of a run, too."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / "recipe.json").write_bytes(MALFORMED[content])
    for name in (folder, folder / "recipe.json"):
        words = ["fit", "--prior", "teacher", "--teacher", str(name), "--out", str(tmp_path / "o")]
        assert str(folder) in line(words, capsys)


@pytest.mark.filterwarnings("default:run .* left out")
@pytest.mark.parametrize("content", MALFORMED)
@pytest.mark.parametrize("name", ["recipe.json", "outcome.json", "provenance.json"])
def test_a_run_of_anything_is_made_again(
    content: str, name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that meets it goes on; a report of it alone is refused."""
    folder = Path(shutil.copytree(finished, tmp_path / "runs" / finished.name))
    (folder / name).write_bytes(MALFORMED[content])
    assert "runs" in line(["report", str(tmp_path)], capsys)


@pytest.mark.parametrize("content", MALFORMED)
def test_results_of_anything(
    content: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_bytes(MALFORMED[content])
    if content == "foreign studies":
        return  # a study that lacks its scale: TypeError
    assert "results.json" in line(["report", str(tmp_path)], capsys)


@pytest.mark.parametrize("content", MALFORMED)
def test_json_is_read_or_its_path_is_told(content: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(MALFORMED[content])
    try:
        read_json(file)
    except ValueError as error:
        assert str(file) in str(error)  # noqa: PT017 - both ways are right


STOPPED = Recipe(epochs=2)


@pytest.fixture(scope="module")
def stopped(once: Callable[..., Path]) -> Path:
    """The checkpoints of a run that was stopped."""

    class KilledError(Exception):
        pass

    def kill(row: dict[str, float]) -> None:
        raise KilledError

    def train(folder: Path) -> None:
        with pytest.raises(KilledError):
            fit(STOPPED, Store(folder), kill, checkpoint_every=0.0)

    store = Store(once("stopped", train))
    return store.partial(store.resolved(STOPPED))


@pytest.mark.parametrize("content", MALFORMED)
def test_a_checkpoint_of_anything_is_passed_over(
    content: str, stopped: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / stopped.name))
    states = list(folder.glob("*/state.json"))
    assert states
    for state in states:
        state.write_bytes(MALFORMED[content])
    store = Store(tmp_path)
    digest = store.resolved(STOPPED).digest
    with pytest.warns(UserWarning, match="is passed over"):
        assert checkpoint.load(folder, digest) is None
    if content == "binary":  # and training begins anew
        with pytest.warns(UserWarning, match="is passed over"):
            assert fit(STOPPED, store).outcome["best_epoch"]


REFUSED = {
    "aliases": ("a: &a [x, x]\nb: [*a, *a]\n", "alias"),
    "merge": ("prior: &p {name: beta}\npenalty:\n  <<: *p\n", "alias"),
    "twice": ("epochs: 1\nseed: 2\nepochs: 3\n", "twice"),
    "twice in a component": ("prior: {name: beta, a: 3, a: 5}\n", "twice"),
    "two spellings": ("prior: {name: beta, a: 3}\nprior.a: 5\n", "twice"),
    "config": ("config: other.yaml\n", "command line alone"),
    "config among others": ("epochs: 1\nconfig: [a.yaml]\n", "command line alone"),
    "a name that is none": ("? [a, b]\n: 3\n", "no text"),
    "infinite": ("learning_rate: .inf\n", "wants a number"),
    "not a number": ("weight_decay: .nan\n", "wants a number"),
    "comma": ("learning_rate: 0,1\n", "wants a number"),
    "epochs of a fraction": ("epochs: 1e-3\n", "wants a whole number"),
    "minutes": ("epochs: 1:30\n", "wants a whole number"),
    "octal": ("epochs: 0o10\n", "wants a whole number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_config_may_not_say(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, told = REFUSED[name]
    (tmp_path / "c.yaml").write_text(text)
    shown = line(["fit", "--config", str(tmp_path / "c.yaml")], capsys)
    assert told in shown
    assert "c.yaml" in shown


def test_json_keys_that_stand_there_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.json").write_text('{"epochs": 1, "prior": {"name": "beta", "name": "uniform"}}')
    assert "twice" in line(["fit", "--config", str(tmp_path / "c.json")], capsys)


@pytest.mark.parametrize("written", ["010", "10", "+10", "1_0"])
def test_a_number_means_one_thing_in_a_file_and_as_a_word(written: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"epochs: {written}\n")
    values: list[Any] = [
        fit_options.options(words).epochs
        for words in (["--config", str(tmp_path / "c.yaml")], ["--epochs", written])
    ]
    assert values == [10, 10]


def test_a_file_without_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert "larger than" in line(["fit", "--config", "/dev/zero"], capsys)


def test_a_recipe_of_a_long_chain_is_a_config(tmp_path: Path) -> None:
    recipe = Recipe()
    for _ in range(40):
        recipe = Recipe(prior="teacher", teacher=recipe)  # type: ignore[arg-type]
    (tmp_path / "c.json").write_text(json.dumps(recipe.to_dict()))
    assert fit_options.options(["--config", str(tmp_path / "c.json")]).teacher["name"]
