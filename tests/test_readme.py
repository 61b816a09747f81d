"""What the documents show is run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import softprior
from softprior.cli import main

ROOT = Path(__file__).parents[1]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text("utf-8"), re.S)


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block, in order, in one namespace, as a reader would."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(ROOT / "README.md", "python"))
    assert code
    exec(compile(code, "README.md", "exec"), {})


def test_commands_of_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Each `softprior …` line is one that the parser takes (they are run at desk scale by hand)."""
    lines = "\n".join(blocks(ROOT / "README.md", "sh")).replace("\\\n", "").splitlines()
    commands = [line.partition("#")[0] for line in lines if line.startswith("softprior ")]
    assert commands
    for command in commands:
        words = shlex.split(command)[1:]
        with pytest.raises(SystemExit, match="0"):
            main([*words, "--help"])


def test_each_equation_of_the_theory_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "theory.md").read_text("utf-8")
    named = re.findall(r"Checked by `(tests/[\w/.]+)::(\w+)`", text)
    assert len(named) == text.count("```math")
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text("utf-8"), f"{file}::{test}"


@pytest.mark.slow
def test_the_three_recipes_of_contributing_work(tmp_path: Path) -> None:
    """Drop the files shown in CONTRIBUTING.md into a copy of the project, and run what it says."""
    for part in ("src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    files = re.findall(
        r"```python\n# (src/softprior/\S+|\w+\.py)\n(.*?)```",
        (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
        re.S,
    )
    assert len(files) == 3
    for name, text in files:
        (tmp_path / name).write_text(text, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    softprior_command = ("-c", "import sys; from softprior.cli import main; sys.exit(main())")
    where = run("-c", "import softprior; print(softprior.__file__)")
    assert where.strip() != softprior.__file__
    assert " passed" in run("-m", "pytest", "tests/test_laws.py", "-k", "halfway", "-v")
    listed = run(*softprior_command, "list")
    for name, _ in files:
        if "/" in name:
            assert Path(name).stem in listed
    assert "worst_class" in run("worst.py")
    study = run(*softprior_command, "study", "shorter", "--scale", "smoke", "--seeds", "2")
    assert "report:" in study
