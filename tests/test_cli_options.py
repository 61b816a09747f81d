"""Where the value of an option comes from: defaults, presets, files and words."""

from __future__ import annotations

import json
import random
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from softprior.cli import _kinds, fit, main
from softprior.cli._execution import Execution
from softprior.cli._recipes import asked
from softprior.training import Recipe, presets

# name: two values for a file and for words; those of components last
VALUES: dict[str, tuple[Any, Any]] = {
    "epochs": (7, 8),
    "seed": (1, 2),
    "batch_size": (16, 32),
    "learning_rate": (0.5, 1e-3),
    "augment": ("flip", "resized"),
    "channels_last": (False, True),
    "subset": ("classes=3", None),
    "milestones": ([0.25], [0.5, 0.75]),
    "label_weight": (0.3, None),
    "fingerprint": ("f" * 64, "0" * 64),
    "dataset": ("digits", "elsewhere"),
    "processes": (2, 3),
    "prior": (
        {"name": "beta", "a": 5.0},
        {"name": "uniform", "spread": "others"},
    ),
    "penalty": ({"name": "confidence", "weight": 0.25}, {"name": "maxsup"}),
    "teacher": ({"name": "ema", "mode": "train"}, {"name": "memory"}),
}
CHANGES = {"prior": {"strength": 0.125}, "penalty": {"weight": 0.5}, "teacher": {}}


def word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def as_words(layer: dict[str, Any], draw: random.Random) -> list[list[str]]:
    """Each option as it may be typed."""
    pairs = []
    for name, value in layer.items():
        if isinstance(value, dict):
            pairs += [(f"{name}.{field}", v) for field, v in value.items() if field != "name"]
            if "name" in value:
                pairs.append((draw.choice([name, f"{name}.name"]), value["name"]))
        else:
            pairs.append((draw.choice([name, name.replace("_", "-")]), value))
    typed = [(f"--{name}", word(value)) for name, value in pairs]
    return [draw.choice([[name, value], [f"{name}={value}"]]) for name, value in typed]


def wanted(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """What a user expects: later layers win, another component leaves nothing of the first."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if not isinstance(value, dict):
                result[name] = value
            else:
                before = result.get(name, {})
                names = {part["name"] for part in (before, value) if "name" in part}
                result[name] = value if len(names) == 2 else {**before, **value}
        if "dataset" in layer and "fingerprint" not in layer:
            result["fingerprint"] = None
    return result


@pytest.mark.parametrize("seed", range(100))
def test_layers_win_in_their_order_wherever_they_stand(seed: int, tmp_path: Path) -> None:
    """Fields split at random into preset, file and words, and the words in any order."""
    draw = random.Random(seed)
    preset = draw.choice([None, *presets.found()])
    layers: list[dict[str, Any]] = [{}, {}]
    for at, layer in enumerate(layers):
        for name, values in VALUES.items():
            if draw.random() < 0.5:
                layer[name] = draw.choice(values)
            elif name in CHANGES and draw.random() < 0.5:
                layer[name] = dict(CHANGES[name])
        if at == 0:
            layer.pop("processes", None)
    file, words = layers
    path = tmp_path / draw.choice(["c.yaml", "c.json"])
    text = json.dumps(file) if path.suffix == ".json" or draw.random() < 0.3 else yaml.dump(file)
    path.write_text(text)
    typed = as_words(words, draw)
    if file:
        typed.append(["--config", str(path)])
    if preset is not None:
        typed.append(["--preset", preset])
    draw.shuffle(typed)
    options = vars(fit.options([w for pair in typed for w in pair]))
    fields = {} if preset is None else dict(presets.get(preset).fields)
    expected = wanted([fields, file, words])
    for name in VALUES:
        value = options[name]
        if name in CHANGES:
            default: Any = {}
        elif name == "processes":
            default = 1
        else:
            default = Recipe.__dataclass_fields__[name].default
        value = list(value) if isinstance(value, tuple) else value
        default = list(default) if isinstance(default, tuple) else default
        assert value == expected.get(name, default), name


@pytest.mark.parametrize(
    ("hint", "wanted_words", "good", "bad"),
    [
        (int, "a whole number", {"3": 3, "1_000": 1000, 4: 4}, ["3.0", 3.0, True, None, "", "x"]),
        (float, "a number", {"1e-4": 1e-4, 3: 3.0}, ["nan", "inf", float("nan"), True, None]),
        (bool, "true or false", {"true": True, "No": False, True: True}, ["1", 1, None, ""]),
        (str, "a text", {"null": "null", "": ""}, [3, None, [], {}]),
        (str | None, "a text or null", {"null": None, "x": "x", None: None}, [3]),
        (int | str, "a whole number or a text", {"3": 3, "x": "x"}, [None]),
        (Literal["a", "b"], "one of a, b", {"a": "a"}, ["c", None, 3]),
        (Literal[1, 2] | None, "one of 1, 2 or null", {"1": 1, 2: 2, "null": None}, ["3"]),
        (tuple[int, ...], "whole numbers such as 2,3", {"2, 3": (2, 3), "[]": ()}, ["2,x", 3, ""]),
        (object, "a value", {"3": 3, "1e-3": 1e-3, "true": True, "null": None, "x": "x"}, []),
    ],
)
def test_kinds_of_values(hint: Any, wanted_words: str, good: dict[Any, Any], bad: Any) -> None:
    kind = _kinds.of(hint)
    for value, read in good.items():
        result = kind.read("--x", value)
        assert (result, type(result)) == (read, type(read))
    for value in bad:
        with pytest.raises(ValueError, match=rf"^--x wants {wanted_words}, got "):
            kind.read("--x", value)


def test_a_message_shows_little_of_a_long_value() -> None:
    bomb: list[Any] = ["x"] * 10
    for _ in range(10):
        bomb = [bomb] * 10  # ten billion entries, were they written out
    with pytest.raises(ValueError, match="wants a text, got") as caught:
        _kinds.TEXT.read("c.yaml: subset", bomb)
    assert len(str(caught.value)) < 500
    with pytest.raises(ValueError, match="wants a whole number") as caught:
        _kinds.WHOLE.read("--epochs", "x" * 10_000)
    assert len(str(caught.value)) < 200


def test_a_preset_among_the_words_takes_the_place_of_a_file_s(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("preset: paper-resnet34-beta\nseed: 4\n")
    options = fit.options(["--config", str(tmp_path / "c.yaml"), "--preset", "desk"])
    assert (options.model, options.seed, options.prior) == ("resnet8-wide", 4, {})


def test_several_files(tmp_path: Path) -> None:
    """Each wins over those before it."""
    (tmp_path / "a.yaml").write_text("epochs: 1\nseed: 1\nprior: {name: beta, a: 5}\n")
    (tmp_path / "b.yaml").write_text("epochs: 2\nprior.strength: 0.25\n")
    options = fit.options([f"--config={tmp_path / n}" for n in ("a.yaml", "b.yaml")])
    assert (options.epochs, options.seed) == (2, 1)
    assert options.prior == {"name": "beta", "a": 5.0, "strength": 0.25}


def test_a_file_changes_a_preset_s_teacher(tmp_path: Path) -> None:
    """Fields without a name are a component's; other keys are a recipe."""
    preset = ["--preset", "paper-resnet34-beta", "--config", str(tmp_path / "c.yaml")]
    (tmp_path / "c.yaml").write_text("teacher: {decay: 0.5}\n")
    assert fit.options(preset).teacher == {
        "name": "ema", "start": "random", "mode": "train", "decay": 0.5
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text("teacher: {epochs: 3}\n")
    assert fit.options(preset).teacher == {"name": {"epochs": 3}}
    assert fit.options([*preset, "--teacher", "memory"]).teacher == {"name": "memory"}
    with pytest.raises(ValueError, match=r"--teacher.decay is an option of ema.*is a recipe"):
        asked(fit.options([*preset, "--teacher.decay", "0.5"]))


OWN = """
from __future__ import annotations
from dataclasses import dataclass
from softprior import Prior, TwoLevel

@dataclass(frozen=True)
class Mine(Prior):
    strength: float = 0.2
    limit: float | None = 5.0
    parts: tuple[int, ...] = (1, 2)
    order: int = 3

    def counts(self, batch):
        return TwoLevel(self.strength, 0.0)
"""


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / f"own_{abs(hash(request.node.nodeid))}.py"
    file.write_text(OWN)
    return file


def test_null_is_a_value_of_a_field_that_takes_it(own: Path) -> None:
    words = ["--prior", f"{own}:Mine", "--prior.limit", "null", "--prior.strength", "null"]
    (recipe,) = asked(fit.options(words))
    assert (recipe.prior.limit, recipe.prior.strength) == (None, 0.2)  # type: ignore[union-attr]


def test_fields_of_ones_own_are_options_of_their_kinds(own: Path) -> None:
    words = ["--prior.parts", "4,5", "--prior.order=7", f"--prior={own}:Mine"]
    (recipe,) = asked(fit.options(words))
    assert (recipe.prior.parts, recipe.prior.order) == ((4, 5), 7)  # type: ignore[union-attr]


def test_two_spellings_of_ones_own_are_one_component(own: Path, tmp_path: Path) -> None:
    """A stored recipe names it by its module, and the user by its path."""
    (recipe,) = asked(fit.options(["--prior", f"{own}:Mine", "--prior.order", "7"]))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    words = ["--config", str(tmp_path / "recipe.json"), "--precision", "fp32"]
    for name in (f"{own}:Mine", f"{own.stem}:Mine"):
        (again,) = asked(fit.options([*words, "--prior", name]))
        assert again.prior == recipe.prior


def test_everything_of_ones_own_in_a_file_is_named_at_once(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(
        "prior: {name: 'm:A', source: x}\nmodel: {name: 'm:b', source: y}\n"
    )
    assert main(["fit", "--config", str(tmp_path / "c.yaml")]) == 2
    assert "add --prior m:A --model m:b\n" in capsys.readouterr().err


def test_a_printed_file_gives_the_same_options(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{own}:Mine"
    words = ["--preset", "paper-resnet34-ls", "--epochs", "3", "--penalty", "maxsup", "--cpu"]
    words += ["--prior", name, "--prior.parts", "7,8", "--prior.limit", "null"]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *words, "--print-config"])
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    again = vars(fit.options(["--config", str(tmp_path / "c.yaml"), "--prior", name]))
    first = vars(fit.options(words))
    assert asked(Namespace(**again)) == asked(Namespace(**first))
    how = [Execution.of(Namespace(**options)) for options in (again, first)]
    assert how[0] == how[1] == Execution(cpu=True)


def test_paths_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands ~ after an equals sign."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("epochs: 3\n")
    options = fit.options(["--out=~/there", "--config=~/c.yaml"])
    assert (options.out, options.epochs) == (tmp_path / "there", 3)
