"""The parser of one command: from its command-line arguments to values by name.

It wraps argparse for two reasons: a mistake raises a ValueError with a clear message of one line,
and the options that the user has given are kept apart from the defaults (:meth:`Parser.given`), so
that a file or a preset can set the others.
"""

from __future__ import annotations

import argparse
import shutil
import sys
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
        about: what it does; paragraphs with indented lines are not wrapped.
        examples: shown below the options.
        usage: the usage line, where argparse's list of all options would be too long.
    """

    def __init__(
        self, command: str, about: str, examples: str | None = None, usage: str | None = None
    ) -> None:
        self.command = command
        self.kinds: dict[str, Kind] = {}
        self.defaults: dict[str, Any] = {}
        self._options: list[str] = ["--help"]  # all that the help lists, as they are written
        self._valueless = {"--help"}  # those of them that take no value
        self._positionals: dict[str, str] = {}  # metavar by name
        self._many: str | None = None  # the one of them of which there may be several
        self._parser = _RaisingParser(
            prog=f"softprior {command}".strip(),
            usage=usage,
            description=_wrapped(about),
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
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
        """A required argument that stands without an option's name."""
        self.kinds[name] = kind
        self._positionals[name] = metavar
        self._many = name if many else self._many
        action = self._parser.add_argument(
            name,
            action=_StoreValue,
            kind=kind,
            shown=metavar,
            nargs="+" if many else None,
            metavar=metavar,
            help=_escaped(help),
        )
        action.required = False  # given() reports a missing one, more clearly than argparse

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
    ) -> None:
        """``--name VALUE``.

        Args:
            name: key of the value, and of ``--name``; a dot separates a component and its field.
            kind: how the value is read.
            help: a description; the default is added unless it is None or a switch's.
            default: the value of :meth:`complete` where the option is not given.
            group: heading under which the help lists it.
            spellings: used instead of ``--name``; the help shows the first. Each may also be
                written with hyphens for underscores.
            metavar: name of the value in the help.
        """
        self.kinds[name], self.defaults[name] = kind, default
        shown, *others = spellings or [f"--{name}"]
        if not (default is None or isinstance(default, bool)):
            written = ",".join(map(str, default)) if isinstance(default, tuple) else default
            help = f"{help} (default: {written})"
        self._options.append(shown)
        hyphenated = [word.replace("_", "-") for word in (shown, *others)]
        for spelling in dict.fromkeys([shown, *others, *hyphenated]):
            seen = spelling == shown
            # What the help does not show stays in the general group: no heading without options.
            self._group(group if seen else _GENERAL).add_argument(
                spelling,
                dest=name,
                action=_StoreValue,
                kind=kind,
                shown=shown,
                nargs="?" if kind.is_switch else None,
                const=True if kind.is_switch else None,
                metavar=metavar or kind.metavar or name.rpartition(".")[2].upper(),
                help=_escaped(help) if seen else argparse.SUPPRESS,
            )

    def files(self, name: str, help: str) -> None:
        """``--name FILE``, which may be given several times."""
        self.defaults[name] = []
        self._options.append(f"--{name}")
        self._group(_GENERAL).add_argument(
            f"--{name}", action="append", metavar="FILE", help=_escaped(help)
        )

    def flag(self, name: str, help: str) -> None:
        """``--name`` without a value. It has no kind, so a configuration file cannot set it."""
        dest = name.replace("-", "_")
        self.defaults[dest] = False
        self._options.append(f"--{name}")
        self._valueless.add(f"--{name}")
        self._group(_GENERAL).add_argument(
            f"--{name}", dest=dest, action="store_true", help=_escaped(help)
        )

    def version(self, text: str) -> None:
        """``--version``, which prints the text and exits."""
        self._options.append("--version")
        self._valueless.add("--version")
        self._group(_GENERAL).add_argument(
            "--version", action="version", version=text, help="print the version and exit"
        )

    def commands(self, lines: Mapping[str, str]) -> None:
        """List the commands in the help, each with its line; they are parsed elsewhere."""
        listed = self._parser.add_subparsers(title="commands", metavar="COMMAND")
        for name, line in lines.items():
            listed.add_parser(name, help=_escaped(line), add_help=False)

    def given(self, words: Sequence[str]) -> dict[str, Any]:
        """The values of those options that stand in ``words``, without any defaults.

        Raises:
            ValueError: for an unknown option, and for an invalid or missing value.
        """
        try:
            found, unknown = self._parser.parse_known_args(list(words))
        except argparse.ArgumentError as error:
            option = str(error.argument_name).rpartition("/")[2]  # "-h/--help": the long one
            raise ValueError(self._value_mistake(option, words)) from error
        values = vars(found)
        if self._many is not None and not any(word.startswith("-") for word in unknown):
            kind = self.kinds[self._many]  # some names stand before the options, some behind
            values.setdefault(self._many, []).extend(kind.read("NAME", word) for word in unknown)
        elif unknown:
            raise ValueError(self._unknown_word(unknown[0]))
        for name, metavar in self._positionals.items():
            if not values.get(name):
                raise ValueError(
                    f"{metavar} is missing: softprior {self.command} --help shows what goes there"
                )
        return values

    def complete(self, words: Sequence[str]) -> argparse.Namespace:
        """The values of all options: those given in ``words``, and the defaults of the others."""
        return argparse.Namespace(**{**self.defaults, **self.given(words)})

    def _value_mistake(self, option: str, words: Sequence[str]) -> str:
        """The message for an option without its value, or with a value that it does not take."""
        if option in self._valueless:
            return f"{option} takes no value"
        following = dict(pairwise(words)).get(option, "")
        if following.startswith("-") and not following.startswith("--"):
            return f"{option} needs a value; write {option}={following} if that is one"
        return f"{option} needs a value"

    def _unknown_word(self, word: str) -> str:
        if word.startswith("-"):
            return self.nearest("option", word.partition("=")[0])
        return f"{word!r} belongs to no option: {self._help_hint()}"

    def nearest(self, what: str, name: str, *, dashes: bool = True) -> str:
        """The message for an unknown option; it suggests similar ones.

        ``dashes`` is False where options are written without them: in a configuration file.
        """
        known = self._options if dashes else [option[2:] for option in self._options]
        bare = name.lstrip("-").replace("-", "_")
        meant = [option for option in known if option.lstrip("-") == ours(bare)]
        meant = meant or [option for option in known if option.endswith(f".{bare}")]
        return nearest(what, name, known, self._help_hint(), meant)

    def _help_hint(self) -> str:
        return f"softprior {self.command} --help".replace("  ", " ") + " lists them all"


class _RaisingParser(argparse.ArgumentParser):
    """An argparse parser that raises ValueError where argparse would end the program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own says nothing where it cannot


class _StoreValue(argparse.Action):
    """Reads a value by its kind and stores it.

    An action, and not argparse's ``type=``: argparse would replace the kind's own message.
    """

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


def _escaped(text: str) -> str:
    """A help text as argparse wants it, where % begins a format; single backquotes for double."""
    return text.replace("``", "`").replace("%", "%%")


def _wrapped(text: str) -> str:
    """Paragraphs as wide as the terminal; those with indented lines stay as they are."""
    width = max(shutil.get_terminal_size().columns - 2, 11)  # as narrow as argparse goes
    blocks = text.strip().split("\n\n")
    return "\n\n".join(b if "\n  " in b else fill(" ".join(b.split()), width) for b in blocks)
