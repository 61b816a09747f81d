"""Every study in studies/, found by its file, runs at smoke scale."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from on_disk import cifar

from softprior import EMA, BetaPrior, TeacherPrior, UniformPrior, studies
from softprior.cli import main
from softprior.engines import estimated_seconds
from softprior.evidence.palette import COLOURS, GREY
from softprior.studies import Scale, method
from softprior.studies._shared import recipes as shared
from softprior.training import Pretrained, Recipe, Store

STUDIES = studies.found()


@pytest.mark.parametrize("name", STUDIES)
def test_docstring_has_its_lines(name: str) -> None:
    about = studies.about(STUDIES[name])
    assert set(about) == {"Title", *studies.LINES}
    assert all(about.values())
    assert about["Run"].startswith(f"softprior study {name}")
    assert set(STUDIES[name].SEEDS) == {"smoke", "desk", "paper"}


@pytest.fixture(scope="module")
def everything(once: Callable[..., Path]) -> Path:
    """All studies at smoke scale, by one command."""

    def study(folder: Path) -> None:
        assert main(["study", "all", "--scale", "smoke", "--out", str(folder)]) == 0

    return once("all", study)


@pytest.mark.parametrize("name", STUDIES)
def test_smoke(name: str, everything: Path) -> None:
    study = json.loads((everything / "results.json").read_text())["studies"][name]
    assert study["scale"] == "smoke"
    assert study["tables"]
    assert study["claims"]
    assert study["figures"]
    for claim in (c for c in study["claims"] if c["answers"]):  # a row of the answers' table
        assert len(claim["text"].split()) <= 25
    page = (everything / "report.html").read_text()
    cells = [c for t in study["tables"] for row in t["rows"] for c in row if isinstance(c, dict)]
    for cell in cells:
        if cell["mean"] is not None:
            assert f'data-mean="{cell["mean"]!r}"' in page


@pytest.mark.slow
def test_studies_share_one_report_and_their_runs(
    everything: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = len(list((everything / "runs").iterdir()))
    assert main(["study", "smoothing", "--scale", "smoke", "--out", str(everything)]) == 0
    assert "to train" not in capsys.readouterr().err
    assert len(list((everything / "runs").iterdir())) == runs
    results = json.loads((everything / "results.json").read_text())
    assert list(results["studies"]) == sorted(STUDIES)


@pytest.mark.slow
def test_studies_run_on_any_data_set(tmp_path: Path) -> None:
    """One seed on small files of the shape of CIFAR, and the report beside that of digits."""
    data = cifar(tmp_path / "Small images", train=120, test=40)
    out = str(tmp_path / "out")
    words = ["--scale", "smoke", "--seeds", "1", "--out", out]
    assert main(["study", "all", "--dataset", str(data), *words]) == 0
    assert main(["study", "map", *words]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())["studies"]
    assert set(results) == {f"{name}-Small-images" for name in STUDIES} | {"map"}
    assert "--dataset" in results["smoothing-Small-images"]["command"]
    asked = results["smoothing-Small-images"]["asked"]
    assert (asked["study"], asked["dataset"], asked["seeds"]) == ("smoothing", str(data), [0])
    shutil.rmtree(data)  # a report is made from the runs alone
    page = (tmp_path / "out" / "report.html").read_text()
    assert main(["report", out]) == 0
    assert (tmp_path / "out" / "report.html").read_text() == page


@pytest.mark.slow
def test_studies_run_on_any_network(tmp_path: Path) -> None:
    data, out = cifar(tmp_path / "Small", train=120, test=40), str(tmp_path / "out")
    words = ["--dataset", str(data), "--scale", "smoke", "--seeds", "1", "--out", out]
    assert main(["study", "smoothing", "--model", "resnet8", *words]) == 0
    (name,) = json.loads((tmp_path / "out" / "results.json").read_text())["studies"]
    assert name == "smoothing-Small-resnet8"
    assert {run.recipe.model for run in Store(tmp_path / "out" / "runs").runs()} == {"resnet8"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Small, resnet8" in page
    assert main(["report", out]) == 0
    assert (tmp_path / "out" / "report.html").read_text() == page


def test_paper_scale_is_the_official_recipe() -> None:
    def of(dataset: str, model: str | None = None) -> Recipe:
        return shared.base(Scale(name="paper", seeds=range(1), dataset=dataset, model=model), 0)

    plain, dense = of("cifar100"), of("tiny-imagenet", "densenet100")
    assert (plain.model, plain.epochs, plain.augment) == ("resnet34", 150, "crop")
    assert (dense.model, dense.epochs, dense.augment) == ("densenet100", 200, "resized")
    assert dense.milestones == (0.5, 0.75)
    assert of("cifar100", "resnet18").milestones == plain.milestones == (1 / 3, 2 / 3)


def test_the_time_is_estimated_from_runs_alike(everything: Path) -> None:
    store = Store(everything / "runs")
    done = [run for run in store.runs() if run.recipe.model == "mlp"]
    base = next(run.recipe for run in done if run.recipe.teacher is None)
    new = [replace(base, seed=100 + k) for k in range(4)]
    one, two = (estimated_seconds(new, store, workers) for workers in (1, 2))
    assert one is not None
    assert two == pytest.approx(one / 2)
    paces = [run.outcome["seconds"] / run.recipe.epochs for run in done]
    assert min(paces) <= one / (4 * base.epochs) <= max(paces)
    assert estimated_seconds([replace(base, model="convnet")], store, 1) is None
    assert estimated_seconds([], store, 1) == 0


BETA = BetaPrior(strength=0.6)
FIRST = Recipe()


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe(), "cross-entropy"),
        (Recipe(penalty="confidence"), "confidence penalty"),
        (Recipe(prior=UniformPrior(0.15)), "label smoothing"),
        (Recipe(prior=UniformPrior(0.15), label_weight=0.85), "label smoothing"),
        (Recipe(prior=UniformPrior(0.15), label_weight=1.0), "label smoothing, label weight 1"),
        (
            Recipe(prior=UniformPrior(0.15), penalty="confidence"),
            "label smoothing, confidence penalty",
        ),
        (Recipe(prior=UniformPrior(0.15, "others")), "label smoothing, on the other classes"),
        (Recipe(prior=BETA), "Beta (own logits)"),
        (Recipe(prior=BETA, teacher="ema"), "Beta (EMA)"),
        (Recipe(prior=BETA, teacher=EMA(0.9)), "Beta (EMA)"),
        (Recipe(prior=BETA, teacher="memory"), "Beta (memory)"),
        (Recipe(prior=BETA, teacher=FIRST), "Beta (earlier generation)"),
        (Recipe(prior=BETA, label_weight=1.0, teacher="ema"), "Beta (EMA), label weight 1"),
        (Recipe(prior=BetaPrior(draw="quantile")), "Beta (own logits), quantile draws"),
        (Recipe(prior=BetaPrior(among="local")), "Beta (own logits), local ranks"),
        (Recipe(prior=BetaPrior(among="running")), "Beta (running)"),
        (Recipe(prior=BetaPrior(among="running"), teacher="ema"), "Beta (running), EMA"),
        (Recipe(prior=BetaPrior(order="random")), "Beta (random order)"),
        (Recipe(prior=BetaPrior(order="random"), teacher="ema"), "Beta (random order)"),
        (Recipe(prior=BetaPrior(order="reversed")), "Beta (reversed order)"),
        (Recipe(prior=BetaPrior(order=-1)), "Beta (reversed order)"),
        (Recipe(prior=BetaPrior(order=0.5)), "Beta (rank correlation 0.5)"),
        (
            Recipe(prior=BetaPrior(order="reversed"), teacher="memory"),
            "Beta (reversed order), memory",
        ),
        (Recipe(prior=TeacherPrior(), teacher=FIRST), "self-distillation"),
        (Recipe(prior=TeacherPrior(0.4, 2.5), teacher=FIRST), "self-distillation, T = 2.5"),
        (
            Recipe(prior=TeacherPrior(0.4, 2.5), teacher=FIRST, match_smoothing=0.15),
            "self-distillation",
        ),
        (
            Recipe(
                prior=TeacherPrior(),
                teacher=Pretrained(file="w.pt", model="mlp", sha256="0" * 64),
            ),
            "self-distillation, pretrained teacher",
        ),
        (
            Recipe(prior=TeacherPrior(weighting="map"), teacher="ema", student_temperature=2.0),
            "self-distillation, EMA teacher, MAP weights, student T = 2",
        ),
        (
            Recipe(prior=TeacherPrior(weighting="map"), label_weight=1.0, teacher="memory"),
            "self-distillation, memory teacher, MAP weights, label weight 1",
        ),
        (
            Recipe(prior=TeacherPrior(), teacher=FIRST, teacher_targets="permuted"),
            "self-distillation, permuted targets",
        ),
    ],
)
def test_name_of_a_method(recipe: Recipe, name: str) -> None:
    found = method(recipe)
    assert found.label == name
    base = name.partition(",")[0]
    assert found["name"] == base
    unusual = ("Beta (earlier generation)", "Beta (rank correlation 0.5)")
    assert (base in COLOURS) == (base not in unusual)
    assert found.colour == COLOURS.get(base, GREY)
    families = {"Beta": "beta", "label": "uniform", "self": "teacher", "confidence": "confidence"}
    assert found["family"] == families.get(base.replace("-", " ").split()[0], "none")


def test_colours_differ_and_are_seen_on_white_paper() -> None:
    def luminance(hex_colour: str) -> float:
        parts = [int(hex_colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    assert len({c.lower() for c in COLOURS.values()}) == len(COLOURS)
    for name, shade in COLOURS.items():
        assert (luminance("#fdfdfd") + 0.05) / (luminance(shade) + 0.05) >= 3, name
