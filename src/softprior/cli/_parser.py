"""The words of one command become values by name; a mistake in them is one line.

Only what the user has given is in the result: the defaults stand beside it, so that files and
presets can come in between.
"""

from __future__ import annotations

import shutil
import sys
from argparse import (
    SUPPRESS,
    Action,
    ArgumentError,
    ArgumentParser,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import fill
from typing import Any, NoReturn

from softprior.cli._kinds import Kind, shown
from softprior.cli._nearest import nearest, ours

_GENERAL = "options"


class Parser:
    """The options of one command.

    Args:
        command: its name, or "" for the program itself.
        about: what it does; blocks with indented lines stay as they are.
        examples: shown below the options.
        usage: where the list of all options would be long.
    """

    def __init__(
        self, command: str, about: str, examples: str | None = None, usage: str | None = None
    ) -> None:
        self.command = command
        self.kinds: dict[str, Kind] = {}
        self.defaults: dict[str, Any] = {}
        self._options: list[str] = ["--help"]  # what is shown to the user
        self._alone = {"--help"}  # those that take no value
        self._positionals: dict[str, str] = {}  # by name, as the help calls them
        self._many: str | None = None  # the one of them of which there may be several
        self._parser = _Argparse(
            prog=f"softprior {command}".strip(),
            usage=usage,
            description=_wrapped(about),
            epilog=examples,
            formatter_class=RawDescriptionHelpFormatter,
            argument_default=SUPPRESS,
            allow_abbrev=False,
            exit_on_error=False,
            add_help=False,
        )
        self._groups: dict[str, Any] = {}
        self._group(_GENERAL).add_argument(
            "-h", "--help", action="help", help="show this help message and exit"
        )

    def _group(self, title: str) -> Any:
        if title not in self._groups:
            self._groups[title] = self._parser.add_argument_group(title)
        return self._groups[title]

    def positional(
        self, name: str, kind: Kind, help: str, *, metavar: str, many: bool = False
    ) -> None:
        """What is not named by an option; it has to be there."""
        self.kinds[name] = kind
        self._positionals[name] = metavar
        self._many = name if many else self._many
        action = self._parser.add_argument(
            name,
            action=_Read,
            kind=kind,
            shown=metavar,
            nargs="+" if many else None,
            metavar=metavar,
            help=_plain(help),
        )
        action.required = False  # said here, in our words

    def option(
        self,
        name: str,
        kind: Kind,
        help: str,
        *,
        default: Any = None,
        group: str = _GENERAL,
        spellings: Sequence[str] = (),
        metavar: str | None = None,
        hidden: bool = False,
    ) -> None:
        """``--name VALUE``.

        Args:
            name: of the option and of the value; a dot separates a component and its field.
            kind: of the value.
            help: a line on it; the default is added where it says something.
            default: the value where it is not given.
            group: heading in the help.
            spellings: ``--NAME``s for it; the first is shown. Hyphens may stand for underscores.
            metavar: what stands for the value in the help.
            hidden: not shown at all.
        """
        self.kinds[name], self.defaults[name] = kind, default
        shown, *others = spellings or [f"--{name}"]
        if not (default is None or isinstance(default, bool) or hidden):
            written = ",".join(map(str, default)) if isinstance(default, tuple) else default
            help = f"{help} (default: {written})"
        if not hidden:
            self._options.append(shown)
        hyphenated = [word.replace("_", "-") for word in (shown, *others)]
        for spelling in dict.fromkeys([shown, *others, *hyphenated]):
            seen = spelling == shown and not hidden
            # A group of its own for what is not shown would be an empty heading.
            self._group(group if seen else _GENERAL).add_argument(
                spelling,
                dest=name,
                action=_Read,
                kind=kind,
                shown=shown,
                nargs="?" if kind.is_switch else None,
                const=True if kind.is_switch else None,
                metavar=metavar or kind.metavar or name.rpartition(".")[2].upper(),
                help=_plain(help) if seen else SUPPRESS,
            )

    def files(self, name: str, help: str) -> None:
        """``--name FILE``, as often as one likes."""
        self.defaults[name] = []
        self._options.append(f"--{name}")
        self._group(_GENERAL).add_argument(
            f"--{name}", action="append", metavar="FILE", help=_plain(help)
        )

    def flag(self, name: str, help: str) -> None:
        """``--name`` alone; a file cannot set it."""
        dest = name.replace("-", "_")
        self.defaults[dest] = False
        self._options.append(f"--{name}")
        self._alone.add(f"--{name}")
        self._group(_GENERAL).add_argument(
            f"--{name}", dest=dest, action="store_true", help=_plain(help)
        )

    def version(self, text: str) -> None:
        """``--version``."""
        self._options.append("--version")
        self._alone.add("--version")
        self._group(_GENERAL).add_argument(
            "--version", action="version", version=text, help="print the version and exit"
        )

    def commands(self, lines: Mapping[str, str]) -> None:
        """The commands with a line on each, for the help: each has a parser of its own."""
        listed = self._parser.add_subparsers(title="commands", metavar="COMMAND")
        for name, line in lines.items():
            listed.add_parser(name, help=_plain(line), add_help=False)

    def given(self, words: Sequence[str]) -> dict[str, Any]:
        """The values of the options that stand in ``words``.

        Raises:
            ValueError: an unknown option, a value that is none, or one that is missing.
        """
        try:
            found, unknown = self._parser.parse_known_args(list(words))
        except ArgumentError as error:
            option = str(error.argument_name).rpartition("/")[2]  # of -h/--help the second
            raise ValueError(self._about_value(option, words)) from error
        values = vars(found)
        if self._many is not None and not any(word.startswith("-") for word in unknown):
            kind = self.kinds[self._many]  # some names stand before the options, some behind
            values.setdefault(self._many, []).extend(kind.read("NAME", word) for word in unknown)
        elif unknown:
            raise ValueError(self._unknown(unknown[0]))
        for name, metavar in self._positionals.items():
            if not values.get(name):
                raise ValueError(
                    f"{metavar} is missing: softprior {self.command} --help shows what goes there"
                )
        return values

    def complete(self, words: Sequence[str]) -> Namespace:
        """The values of all options: of those that are not given the defaults."""
        return Namespace(**{**self.defaults, **self.given(words)})

    def _about_value(self, option: str, words: Sequence[str]) -> str:
        """What is wrong where a value is missing, or is one too many."""
        if option in self._alone:
            return f"{option} takes no value"
        following = dict(pairwise(words)).get(option, "")
        if following.startswith("-") and not following.startswith("--"):
            return f"{option} needs a value; write {option}={following} if that is one"
        return f"{option} needs a value"

    def _unknown(self, word: str) -> str:
        if word.startswith("-"):
            return self.nearest("option", word.partition("=")[0])
        return f"{word!r} belongs to no option: {self._all()}"

    def nearest(self, what: str, name: str, *, dashes: bool = True) -> str:
        """An unknown option, and the known ones that are nearest to it."""
        known = self._options if dashes else [option[2:] for option in self._options]
        bare = name.lstrip("-").replace("-", "_")
        meant = [option for option in known if option.lstrip("-") == ours(bare)]
        meant = meant or [option for option in known if option.endswith(f".{bare}")]
        return nearest(what, name, known, self._all(), meant)

    def _all(self) -> str:
        return f"softprior {self.command} --help".replace("  ", " ") + " lists them all"


class _Argparse(ArgumentParser):
    """Of every mistake that it would end the program for, a ValueError."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own says nothing where it cannot


class _Read(Action):
    """Reads a value by its kind, so that the message is ours and not the parser's."""

    def __init__(self, *, kind: Kind, shown: str, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind
        self.shown = shown

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        if isinstance(values, list):
            read: Any = [self.kind.read(self.shown, value) for value in values]
        else:
            read = self.kind.read(self.shown, values)
        earlier = getattr(namespace, self.dest, read)
        if option is not None and earlier != read:
            raise ValueError(
                f"{self.shown} is given twice, as {shown(earlier)} and as {shown(read)}: keep one"
            )
        setattr(namespace, self.dest, read)


def _plain(text: str) -> str:
    """A text for argparse, to which % is the beginning of a format."""
    return text.replace("``", "`").replace("%", "%%")


def _wrapped(text: str) -> str:
    """Paragraphs as wide as the terminal; blocks with indented lines stay as they are."""
    width = max(shutil.get_terminal_size().columns - 2, 11)  # as narrow as argparse goes
    blocks = text.strip().split("\n\n")
    return "\n\n".join(b if "\n  " in b else fill(" ".join(b.split()), width) for b in blocks)
