"""One thread, the same random numbers for a test whatever ran before it, and dropped files."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch

import softprior

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fingerprints are not left in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTPRIOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(zlib.crc32(request.node.nodeid.rpartition("/")[2].encode()))


@pytest.fixture
def run_with_dropped(
    tmp_path: pathlib.Path,
) -> Callable[[pathlib.Path, str, Mapping[str, str], str], tuple[str, set[str]]]:
    """Runs a test file, as it is, on a copy of the package with more files in one folder.

    Gives pytest's report, and the tests that failed as ``name[file-…``.
    """

    def run(
        test_file: pathlib.Path, folder: str, sources: Mapping[str, str], chosen: str
    ) -> tuple[str, set[str]]:
        package = pathlib.Path(softprior.__file__).parent
        copy = tmp_path / "src/softprior"
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for name, source in sources.items():
            (copy / folder / f"{name}.py").write_text(source, encoding="utf-8")
        for file in (pathlib.Path(__file__), test_file):
            shutil.copy(file, tmp_path)
        command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "-k", chosen, str(tmp_path / test_file.name)],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "src"), "COLUMNS": "1000"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        report = done.stdout + done.stderr
        assert done.returncode in (0, 1), report
        assert " passed" in report or "[100%]" in report, report
        return report, set(re.findall(r"^FAILED \S*?::(.*?)(?: - .*)?$", done.stdout, re.M))

    return run
