"""A disk that is full at some write: told in a line, and nothing that can be kept is lost."""

from __future__ import annotations

import errno
import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
from bits import same_bits

from softprior.cli import _events, main
from softprior.training import Recipe, Run, Store, fit

RECIPE = Recipe(epochs=3)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """``full(first, n)``: n writes of tensors find no room, beginning with the first."""
    save, count = safetensors.torch.save_file, 0

    def ran_out(first: int, n: int) -> None:
        def failing(tensors: Any, file: Any, *more: Any) -> None:
            nonlocal count
            count += 1
            if first <= count < first + n:
                Path(file).write_bytes(b"part")
                raise safetensors.SafetensorError(
                    "Error while serializing: I/O error: No space left on device (os error 28)"
                )
            save(tensors, file, *more)

        monkeypatch.setattr(safetensors.torch, "save_file", failing)

    return ran_out


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2])
def test_a_checkpoint_without_room_is_a_warning(
    first: int,
    n: int,
    full: Callable[[int, int], None],
    trained: Callable[[Recipe], Run],
    tmp_path: Path,
) -> None:
    full(first, n)
    with pytest.warns(UserWarning, match="no checkpoint is written: No space left on device"):
        run = fit(RECIPE, tmp_path, checkpoint_every=0.0)
    same_bits(run, trained(RECIPE))
    assert not list(tmp_path.glob(".*"))


def test_a_run_without_room_is_kept_as_a_checkpoint(
    full: Callable[[int, int], None], trained: Callable[[Recipe], Run], tmp_path: Path
) -> None:
    full(1, 1)  # the first write is that of the finished run
    with pytest.raises(OSError, match="No space left on device: the finished run") as caught:
        fit(RECIPE, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert str(tmp_path) in str(caught.value.filename)
    epochs: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = fit(RECIPE, tmp_path, lambda row: epochs.append(row["epoch"]))
    assert epochs == []  # none is trained twice
    same_bits(run, trained(RECIPE))


@pytest.mark.filterwarnings("default:.*no checkpoint is written")
def test_the_command_tells_it_in_a_line(
    full: Callable[[int, int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full(1, 99)
    words = ["fit", "--epochs", "1", "--precision", "fp32", "--out", str(tmp_path / "o")]
    assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"softprior: {tmp_path / 'o'}")
    assert "No space left on device" in last


def test_a_history_without_room_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(self: Store, *_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "write_history", full)
    with pytest.warns(UserWarning, match="no history is written"):
        assert fit(Recipe(epochs=1), tmp_path).path.is_dir()


@pytest.mark.parametrize("first", [0, 1, 2, 5, 9, 14, 19])
@pytest.mark.parametrize("call", ["write", "flush", "__init__"])
def test_events_without_room_are_a_warning(
    first: int,
    call: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    records = pytest.importorskip("tensorboard.summary.writer.record_writer")
    usual, count = getattr(records.RecordWriter, call), 0

    def full(self: Any, *more: Any) -> Any:
        nonlocal count
        count += 1
        if count > first:
            raise OSError(errno.ENOSPC, "No space left on device")
        return usual(self, *more)

    monkeypatch.setattr(records.RecordWriter, call, full)
    history, hook = tmp_path / "history.jsonl", threading.excepthook
    events = _events.Events(tmp_path / "events", history)
    row = {"seconds": 1.0, **dict.fromkeys(_events.SCALARS, 0.5)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in (1, 2, 3):
            row["epoch"] = epoch
            history.write_text(json.dumps(row) + "\n")
            events.write(row)
        events.close()
    messages = [str(w.message) for w in caught]
    told = [f"{tmp_path / 'events'}: no more events are written: No space left on device"]
    assert messages == (told if count > first else []) or (call == "flush" and not messages)
    assert capfd.readouterr().err == ""
    assert threading.excepthook is hook
