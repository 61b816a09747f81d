"""One thread, the same random numbers for a test whatever ran before it, and what tests share.

A law that is drawn by hypothesis takes few examples in ``make test`` (the profile "fast") and ten
times as many in ``make test-slow`` ("thorough"); both draw the same ones every time.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, settings

import softprior

if TYPE_CHECKING:
    from softprior.training import Recipe, Run

torch.set_num_threads(1)
settings.register_profile(
    "fast",
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("fast"), max_examples=30)
settings.load_profile("fast")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name not in ("test_studies.py", "test_processes.py"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fingerprints are not left in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTPRIOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(zlib.crc32(request.node.nodeid.rpartition("/")[2].encode()))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder that all workers of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(shared: pathlib.Path) -> Callable[[str, Callable[[pathlib.Path], None]], pathlib.Path]:
    """A folder of that name, filled by whichever test, in whichever worker, asks for it first."""

    def filled(name: str, fill: Callable[[pathlib.Path], None]) -> pathlib.Path:
        folder, filled = shared / name, shared / f"{name}.filled"
        with FileLock(shared / f"{name}.lock"):
            if not filled.exists():
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def trained(shared: pathlib.Path) -> Callable[[Recipe], Run]:
    """A run for tests that only read it: trained once, for whichever test asks first."""
    from softprior.training import Store, fit

    store = Store(shared / "trained")

    def train(recipe: Recipe) -> Run:
        with FileLock(shared / f"trained-{recipe.digest}.lock"):
            return fit(recipe, store)

    return train


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
        here = pathlib.Path(__file__)
        for file in (here, here.with_name("properties.py"), test_file):
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
