"""Who may import whom, read off the source; what ``import softprior`` loads; how long files are."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

import softprior

ROOT = pathlib.Path(softprior.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

SHARED = {"checks", "counts", "margin", "discovery", "gathering"}  # everybody's
CORE = SHARED | {
    *("", "kernel", "recent", "posterior", "losses", "matching", "priors", "teachers"),
    "diagnostics",
}
EVERYTHING = CORE | {"training", "studies", "engines", "report", "cli"}
# part: (parts of softprior, third parties). "" is the package itself, its public names. A part
# may always import itself. A part that is not named here may import nothing.
RULES: dict[str, tuple[set[str], set[str]]] = {
    "": (CORE | {"training"}, set()),  # training: only when Recipe, fit, … are asked for
    "checks": (set(), {"torch"}),
    "counts": ({"checks"}, {"torch"}),
    "margin": (set(), {"torch"}),
    "discovery": (set(), set()),
    "kernel": ({"checks", "counts"}, {"torch"}),
    "posterior": ({"checks", "counts", "kernel", "recent"}, {"torch"}),
    "losses": ({"checks", "counts", "posterior", "priors"}, {"torch"}),
    "matching": ({"checks"}, {"torch"}),
    "recent": (set(), {"torch"}),
    "priors": (SHARED | {"recent"}, {"torch"}),
    "teachers": ({"checks", "margin", "discovery"}, {"torch"}),
    "diagnostics": ({"checks", "margin"}, {"torch"}),
    "gathering": (set(), {"torch"}),
    "training": (
        CORE,
        {
            *("torch", "safetensors", "sklearn", "numpy", "pyarrow", "PIL"),
            *("accelerate", "datasets", "timm"),
        },
    ),
    "studies": (CORE | {"training"}, {"torch", "scipy"}),
    "engines": (CORE | {"training"}, {"torch", "ray"}),
    "report": (
        CORE | {"training", "studies"},
        # cycler is matplotlib's and markupsafe jinja2's: each comes with it.
        {"torch", "matplotlib", "cycler", "jinja2", "markupsafe", "rich", "scipy"},
    ),
    "cli": (EVERYTHING, {"torch", "jsonargparse", "rich", "yaml", "numpy", "pyarrow"}),
}


def part_of(module: str) -> str:
    """``softprior.priors.beta`` → ``priors``; a name in the package itself → ``""``."""
    name = module.split(".")[1] if "." in module else ""
    known = name in RULES or (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()
    return name if known else ""


def imports(source: str, module: str, *, package: bool) -> set[str]:
    """Full names of all that a source imports: in functions and under TYPE_CHECKING too."""
    found = set()
    parents = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found


def forbidden(source: str, module: str, *, package: bool = False) -> set[str]:
    part = part_of(module)
    own, third = RULES.get(part, (set(), set()))
    wrong = set()
    for name in imports(source, module, package=package):
        top = name.split(".")[0]
        if top == "softprior":
            # A part may import itself, save the package itself: that is a circle.
            if part_of(name) not in own | ({part} - {""}):
                wrong.add(name)
        elif top not in sys.stdlib_module_names and top not in third:
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_are_allowed(file: pathlib.Path) -> None:
    parts = [ROOT.name, *file.relative_to(ROOT).with_suffix("").parts]
    package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if package else parts)
    assert not forbidden(file.read_text(encoding="utf-8"), module, package=package)


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("softprior.checks", "import torch, math", set()),
        (
            "softprior.checks",
            "from softprior.counts import TwoLevel",
            {"softprior.counts.TwoLevel"},
        ),
        ("softprior.posterior", "from softprior import checks", set()),
        ("softprior.posterior", "from softprior import priors", {"softprior.priors"}),
        ("softprior.posterior", "import softprior.priors.beta", {"softprior.priors.beta"}),
        ("softprior.posterior", "from . import priors", {"softprior.priors"}),
        ("softprior.priors.beta", "from .base import Prior", set()),
        ("softprior.priors.beta", "from ..teachers import Teacher", {"softprior.teachers.Teacher"}),
        ("softprior.priors.beta", "from softprior import TwoLevel", {"softprior.TwoLevel"}),
        ("softprior.priors.beta", "def f():\n    import numpy.random", {"numpy.random"}),
        (
            "softprior.teachers.ema",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import softprior.priors",
            {"softprior.priors"},
        ),
        ("softprior.teachers.ema", "__import__('scipy')", {"scipy"}),
        (
            "softprior.diagnostics.scores",
            "import importlib\nimportlib.import_module('pandas')",
            {"pandas"},
        ),
        (
            "softprior.training.fit",
            "import safetensors.torch\nimport softprior.cli",
            {"softprior.cli"},
        ),
        ("softprior.studies.temperature", "import matplotlib.pyplot", {"matplotlib.pyplot"}),
        ("softprior.engines.local", "from softprior.report import page", {"softprior.report.page"}),
        ("softprior.cli", "import rich, matplotlib, softprior.report", {"matplotlib"}),
        ("softprior.newcomer", "import torch", {"torch"}),
    ],
)
def test_the_checker(module: str, source: str, wrong: set[str]) -> None:
    assert forbidden(source, module) == wrong


def test_relative_imports_of_a_package() -> None:
    assert imports("from .base import Prior", "softprior.priors", package=True) == {
        "softprior.priors.base.Prior"
    }


def test_every_part_is_in_the_table() -> None:
    parts = {file.relative_to(ROOT).parts[0].removesuffix(".py") for file in FILES}
    assert parts - {"__init__"} <= set(RULES)


def test_importing_softprior_loads_torch_alone() -> None:
    heavy = [
        *("matplotlib", "scipy", "sklearn", "accelerate", "pandas", "pyarrow", "jsonargparse"),
        *("rich", "jinja2", "safetensors", "datasets", "PIL"),
    ]
    code = f"import sys, softprior; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_public_names() -> None:
    names = list(softprior.__all__)
    assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert all(hasattr(softprior, name) for name in names)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_files_fit_into_the_head(file: pathlib.Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 260
