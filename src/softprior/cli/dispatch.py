"""From words to a command: its parser, the rewriting of short forms, and the complaints.

Only the command that is asked for is imported: the others are a line of help each.
"""

from __future__ import annotations

import difflib
import re
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from importlib import import_module
from textwrap import fill
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

# name: (module, the first line of its docstring)
COMMANDS = {
    "list": (
        "listing",
        "List presets, priors, penalties, teachers, data sets, networks and studies.",
    ),
    "fit": ("fit", "Train one run, or a chain of generations."),
    "study": ("study", "Run a study and write its report."),
    "report": ("report", "Write the report of each folder again, from the runs that are in it."),
    "diagnose": (
        "diagnose",
        "How confident, diverse and calibrated is a model? All diagnostics, from a file.",
    ),
}

EXAMPLES = """examples:
  softprior study smoothing                   five methods at the same smoothing
  softprior fit --prior beta --prior.a 3 --teacher ema
  softprior diagnose predictions.npz          how confident, diverse and calibrated a model is
"""


def dispatch(given: Sequence[str]) -> int:
    """Parse, run the command, return its exit code; every mistake is a ValueError or the like."""
    command = next((word for word in given if not word.startswith("-")), None)
    module = import_module(f"softprior.cli.{COMMANDS[command][0]}") if command in COMMANDS else None
    parser, sub = _parsers(command, module, given)
    if module is None:
        words = list(given)
    else:
        words = [_underscored(word, _options(sub)) for word in given]
        words = list(getattr(module, "shorthand", list)(words))
    try:
        options = parser.parse_args(words)
    except ArgumentError as error:
        raise ValueError(_told(str(error), words, command, sub)) from error
    assert module is not None  # the parser has refused an unknown command
    code: int = module.run(options[options.command])
    return code


class _Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Paragraphs are wrapped, examples stay as they are; types only where they say something."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = text.strip().split("\n\n")
        return "\n\n".join(b if "\n  " in b else fill(" ".join(b.split()), width) for b in blocks)

    def _get_help_string(self, action: Action) -> str:
        text = (action.help or "").replace("``", "`")
        plain = action.default is None or isinstance(action.default, bool)
        if plain or action.default == SUPPRESS or not action.option_strings:
            return text
        return f"{text} (default: %(default)s)"


def _parsers(
    command: str | None, module: Any, given: Sequence[str]
) -> tuple[ArgumentParser, ArgumentParser]:
    """The whole parser, and the part of it that reads the command's options."""
    from softprior import __version__

    parser = ArgumentParser(
        prog="softprior",
        description="Label smoothing, self-distillation and Beta smoothing as one loss.",
        epilog=EXAMPLES,
        formatter_class=_Formatter,
        exit_on_error=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"softprior {__version__}",
        help="print the version and exit",
    )
    commands = parser.add_subcommands(required=True, dest="command")
    chosen = parser
    for name, (_, line) in COMMANDS.items():
        sub = ArgumentParser(
            description=module.__doc__ if module and name == command else line,
            epilog=getattr(module, "EXAMPLES", None) if name == command else None,
            formatter_class=_Formatter,
            exit_on_error=False,
            print_config="--print-config",
        )
        if module and name == command:
            module.arguments(sub, given)
            chosen = sub
        commands.add_subcommand(name, sub, help=line)
    return parser, chosen


def _options(parser: ArgumentParser) -> list[str]:
    actions = [action for action in parser._actions if action.help != SUPPRESS]
    return [o for action in actions for o in action.option_strings if o[:2] == "--"]


def _underscored(word: str, known: Sequence[str]) -> str:
    """``--label-weight`` is ``--label_weight``."""
    name, equals, value = word.partition("=")
    other = name[:2] + name[2:].replace("-", "_")
    return other + equals + value if name not in known and other in known else word


def nearest(what: str, name: str, known: Iterable[str], command: str | None) -> str:
    """An unknown name, and the three known ones that are nearest to it."""
    bare = {option.lstrip("-"): option for option in known}  # all begin alike
    near = difflib.get_close_matches(name.lstrip("-"), bare, n=3) or list(bare)[:3]
    wanted = " or ".join(repr(bare[option]) for option in near)
    listed = f"softprior {command} --help" if command else "softprior --help"
    return f"unknown {what} {name!r}: did you mean {wanted}? {listed} lists them all"


def _told(message: str, words: Sequence[str], command: str | None, parser: ArgumentParser) -> str:
    """The parser's complaint in one line, in the user's words."""
    if match := re.search(r"invalid choice: '([^']*)'", message):
        return nearest("command", match[1], COMMANDS, None)
    if match := re.search(r"unrecognized arguments: (--[^\s=]+)", message):
        return nearest("option", match[1], _options(parser), command)
    if match := re.search(r"arguments are required: ([\w.]+)", message):
        dest = match[1].rpartition(".")[2]
        name = next((str(a.metavar or dest) for a in parser._actions if a.dest == dest), dest)
        return f"{name.upper()} is missing: softprior {command or ''} --help shows what goes there"
    if match := re.search(r"argument (--\S+): expected", message):
        return f"{match[1]} needs a value"
    file = next((str(path) for path in _configs(words)), "")
    if match := re.search(r"does not accept option '([^']+)'", message):
        known = [option[2:] for option in _options(parser)]
        return f"{file}: {nearest('option', match[1], known, command)}"
    # The parser tells of types in Python's words and over several lines, for nested keys by
    # their last part alone; what the user typed and what was wanted is all that helps.
    if match := re.search(r'key "([^"]+)"', message):
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        wanted = re.findall(r"Expected an? (.+?)(?:\. Got|\n|$)", message)
        word = next((w for w in words if re.match(rf"--([\w.]*\.)?{match[1]}\b", w)), "")
        option = word.partition("=")[0] or (f"{file}: {match[1]}" if file else match[1])
        if given and wanted:
            return f"{option} wants {_kinds(wanted)}, got {given[-1]}"
    return message


def _configs(words: Sequence[str]) -> Iterable[str]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--config" or word.startswith("--config="):
            yield word[9:] or following


def _kinds(wanted: Sequence[str]) -> str:
    """What the parser wanted, in words that are not Python's."""
    words = {"int": "a whole number", "float": "a number", "str": "a text", "NoneType": "null"}
    words |= {"tuple": "numbers such as 0.5,0.75"}
    kinds = []
    for kind in wanted:
        name = re.sub(r"<class '(\w+)'>|typing\.", r"\1", kind)
        if name.startswith("Literal"):
            name = "one of " + ", ".join(re.findall(r"'([^']*)'", name))
        kinds.append(words.get(name, name))
    return " or ".join(kinds)
