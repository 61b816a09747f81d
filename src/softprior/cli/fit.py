"""Train one run, or a chain of generations.

Every field of a recipe is an option. --preset sets the options of a run of the paper, or of a small
run (desk); --config reads options from a YAML or JSON file (such as the recipe.json of a finished
run). Options on the command line win over both. A finished run is not repeated, and one that was
stopped continues from its last checkpoint.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from softprior.cli._execution import Execution
from softprior.cli._fields import options_of
from softprior.cli._layers import COMPONENTS, merged, nested
from softprior.cli._parser import Parser

EXAMPLES = """the four methods on a folder of images (train/CLASS/*.png, or Parquet files):
  softprior fit --dataset photos --model resnet8 --augment flip
  softprior fit --dataset photos --model resnet8 --augment flip \\
      --prior uniform --prior.strength 0.15
  softprior fit --dataset photos --model resnet8 --augment flip \\
      --prior beta --teacher ema
  softprior fit --dataset photos --model resnet8 --augment flip \\
      --prior teacher --generations 2

ten generations, each the teacher of the next; then two more:
  softprior fit --dataset photos --model resnet8 --augment flip --generations 10
  softprior fit --dataset photos --model resnet8 --augment flip --generations 12

Beta smoothing by the recipe of the paper's code, on CIFAR-100 from the Hub:
  softprior fit --preset paper-resnet34-beta --dataset cifar100 --seed 3

a teacher that was trained elsewhere:
  softprior fit --dataset photos --model resnet8 --prior teacher \\
      --teacher weights.safetensors --teacher_model resnet34

a prior, a network and data of your own, from mine.py (also package.module:NAME):
  softprior fit --prior mine.py:Halfway --prior.strength 0.3 --model mine.py:network \\
      --dataset mine.py:data
"""


def options(words: Sequence[str]) -> Namespace:
    """How a run is executed, and the options of its recipe: by presets, files and words."""
    from softprior.cli import _files
    from softprior.cli._own import Own
    from softprior.cli._recipe_options import recipe_options
    from softprior.training import presets

    parser = Parser("fit", __doc__ or "", EXAMPLES, usage="softprior fit [--OPTION VALUE ...]")
    options_of(parser, Execution, "how it is executed")
    own = Own.of(words)
    recipe_options(parser, own)
    given = parser.given(words)
    layers = [_files.read(file, parser, own) for file in given.get("config", [])]
    layers.append(nested(given))
    asked = merged(layers, own.is_same)
    preset, dataset = asked.get("preset"), asked.get("dataset", parser.defaults["dataset"])
    fields = {} if preset is None else presets.get(preset).on(dataset)
    defaults = {n: value for n, value in parser.defaults.items() if "." not in n}
    values = merged(
        [{**defaults, **{role: {} for role in COMPONENTS}}, _as_layer(fields), *layers],
        own.is_same,
    )
    if values.pop("print_config"):
        print(_files.written({n: v for n, v in values.items() if n != "config"}))
        raise SystemExit(0)
    return Namespace(**values, objects=own.objects)


def run(options: Namespace) -> int:
    """Train, then print what became of it."""
    from softprior.cli._train import train

    return train(options)


def _as_layer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's fields, in which a component may be a name alone."""
    alone = {role: fields[role] for role in COMPONENTS if isinstance(fields.get(role), str)}
    return {**fields, **{role: {"name": name} for role, name in alone.items()}}
