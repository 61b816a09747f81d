"""From words to a command.

Only the command that is asked for is imported: the others are a line of help each.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from softprior.cli._nearest import nearest
from softprior.cli._parser import Parser

# name: (module, the first line of its docstring)
COMMANDS = {
    "list": (
        "listing",
        "List presets, priors, penalties, teachers, data sets, networks and studies.",
    ),
    "fit": ("fit", "Train one run, or a chain of generations."),
    "study": ("study", "Run studies and write their report."),
    "report": ("report", "Write the report of each folder again, from its finished runs."),
    "diagnose": (
        "diagnose",
        "How confident, diverse and calibrated is a model? All diagnostics, from a file.",
    ),
}

EXAMPLES = """examples:
  softprior study smoothing                   six methods at the same average smoothing
  softprior fit --prior beta --prior.a 3 --teacher ema
  softprior diagnose predictions.npz          how confident, diverse and calibrated a model is

softprior COMMAND --help lists the options of a command.
"""


def dispatch(given: Sequence[str]) -> int:
    """Run the command that the first word names and return its exit code.

    Every mistake is a ValueError or the like.
    """
    first, *words = given
    if first in COMMANDS:
        command: Any = import_module(f"softprior.cli.{COMMANDS[first][0]}")
        code: int = command.run(command.options(words))
        return code
    if not first.startswith("-"):
        raise ValueError(nearest("command", first, COMMANDS, "softprior --help lists them all"))
    _program().given([first])  # --help and --version end the program, and all else is unknown
    raise ValueError("which command? softprior --help lists them all")


def _program() -> Parser:
    from softprior import __version__

    about = "Label smoothing, self-distillation and Beta smoothing as one loss."
    parser = Parser("", about, EXAMPLES)
    parser.version(f"softprior {__version__}")
    parser.commands({name: line for name, (_, line) in COMMANDS.items()})
    return parser
