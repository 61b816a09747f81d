"""What a command prints to may be closed, full, narrow, or obey escape codes."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprior.cli import _streams, main
from softprior.cli._console import console, show_line

COMMAND = f"{sys.executable} -m softprior"


def shell(line: str, folder: Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={name: value for name, value in env.items() if value is not None},
        capture_output=True,
        text=True,
        errors="replace",
    )


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@FULL
@pytest.mark.slow
@pytest.mark.parametrize(
    "ends",
    [  # every pair of two of them
        *(("", ">&-", "2>&-"), ("<&-", ">&-", "2>/dev/full"), ("", ">/dev/full", "2>/dev/full")),
        *(("<&-", ">/dev/full", "2>&-"), ("", "", "2>&-"), ("<&-", "", "2>/dev/full")),
    ],
)
def test_training_needs_no_stream(ends: tuple[str, str, str], tmp_path: Path) -> None:
    done = shell(f"{COMMAND} fit --epochs 1 --cpu --out o {' '.join(ends)}", tmp_path)
    assert done.returncode == (2 if "/dev/full" in ends[1] else 0)
    assert len(list((tmp_path / "o" / "runs").glob("[0-9a-f]*"))) == 1
    assert "Traceback" not in done.stdout + done.stderr


@FULL
@pytest.mark.parametrize(
    "words",
    [
        "--help",
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in ("fit --help", "list", "diagnose p.npz --json")
        ),
    ],
)
def test_what_cannot_be_printed_is_told(words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", logits=np.eye(4) * 3, labels=np.arange(4))
    done = shell(f"{COMMAND} {words} >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "softprior: standard output: No space left on device\n",
    )


@pytest.mark.parametrize("columns", ["0", "1", "7", "-3", "x", ""])
@pytest.mark.parametrize("words", [["list"], ["fit", "--help"], ["--help"]])
def test_any_width(
    columns: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", "0")
    if words == ["list"]:
        assert main(words) == 0
    else:
        with pytest.raises(SystemExit, match="0"):
            main(words)
    assert len(capsys.readouterr().out) > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": None},
        {"HOME": "/nowhere/at/all"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": None},
        {"TERM": "dumb", "COLUMNS": "0"},
        {"TERM": None, "NO_COLOR": "1"},
    ],
)
def test_any_surroundings(environment: dict[str, str | None], tmp_path: Path) -> None:
    line = f"{COMMAND} fit --epochs 1 --cpu --out o"
    done = shell(line, tmp_path, SOFTPRIOR_CACHE=None, **environment)
    assert (done.returncode, "run: " in done.stdout) == (0, True), done.stderr


STEERING = st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "L", "P"]), max_size=20)


@given(STEERING)
def test_no_text_steers_a_terminal(text: str) -> None:
    shown = _streams.printable(text)
    assert not any(
        unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in shown if c not in "\n\t"
    )
    assert _streams.printable(shown) == shown


@given(STEERING)
def test_no_line_steers_a_terminal_or_ends_early(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="replace", newline="")
        patch.setattr(sys, "stdout", out)
        show_line(console(), f"run: {text}")
        out.flush()
        line = out.buffer.getvalue().decode()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", line)


@pytest.mark.parametrize(
    "name", ["a\x1b[31m", "a[red]b", "a\u202egnp", "a\nb", "a\r\x07", "\x9b1m"]
)
def test_a_file_s_name_is_shown_and_not_obeyed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{name}.npz"
    np.savez(file, logits=np.eye(4) * 3, labels=np.arange(4))
    assert main(["diagnose", str(file), "--html", str(tmp_path / f"{name}.html")]) == 0
    out, err = capsys.readouterr()
    assert main(["diagnose", str(tmp_path / f"{name}.npy")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    shown = out + err + told
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    if "red" in name:
        assert "a[red]b" in shown
