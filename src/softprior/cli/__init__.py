"""softprior list | fit | study | report | diagnose.

Exit codes: 0 success; 1 a run failed; 2 a mistake in what was asked, told in one line; 130 Ctrl-C.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from jsonargparse import ArgumentError, ArgumentParser

from softprior import checks
from softprior.cli import diagnose, fit, listing, report, study

COMMANDS = {"list": listing, "fit": fit, "study": study, "report": report, "diagnose": diagnose}

EXAMPLES = """examples:
  softprior study smoothing                   five methods at the same smoothing, 10 seeds
  softprior fit --prior beta --prior.a 3 --label_weight 0.4 --teacher ema
  softprior diagnose predictions.npz          how confident, diverse and calibrated a model is
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        arguments = ["--help"]
    try:
        parser = _parser()
        options = parser.parse_args(fit.shorthand(arguments))
        command = options.command
        code: int = COMMANDS[command].run(options[command])
        return code
    except ArgumentError as error:
        return _mistake(_told(str(error), arguments, parser))
    except (ValueError, TypeError, FileNotFoundError, FloatingPointError) as error:
        if os.environ.get("SOFTPRIOR_TRACEBACK"):
            raise
        return _mistake(str(error))
    except (ConnectionError, MemoryError, ModuleNotFoundError) as error:
        return _mistake(str(error))
    except OSError as error:  # a full disk, no permission: nothing half-written is left
        return _mistake(f"{error.filename or 'file system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("softprior: stopped; finished runs are kept", file=sys.stderr)
        return 130


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="softprior",
        description="Label smoothing, self-distillation and Beta smoothing as one loss.",
        epilog=EXAMPLES,
        exit_on_error=False,
    )
    from softprior import __version__

    parser.add_argument("--version", action="version", version=f"softprior {__version__}")
    commands = parser.add_subcommands(required=True, dest="command")
    for name, module in COMMANDS.items():
        sub = ArgumentParser(
            description=module.__doc__, exit_on_error=False, print_config="--print-config"
        )
        module.arguments(sub)
        commands.add_subcommand(name, sub, help=(module.__doc__ or "").strip().splitlines()[0])
    return parser


def _mistake(message: str) -> int:
    print("softprior: " + " ".join(message.split()), file=sys.stderr)
    return 2


def _told(message: str, arguments: Sequence[str], parser: ArgumentParser) -> str:
    """The parser's complaint in one line, with the nearest known name where there is one."""
    if match := re.search(r"invalid choice: '([^']*)'", message):
        return checks.unknown("command", match[1], COMMANDS)
    if match := re.search(r"unrecognized arguments: (--[^\s=]+)", message):
        command = next((a for a in arguments if a in COMMANDS), None)
        sub = ArgumentParser(exit_on_error=False)
        if command:
            COMMANDS[command].arguments(sub)
        known = [o for action in sub._actions for o in action.option_strings if o[:2] == "--"]
        return checks.unknown("option", match[1], known)
    # The parser tells of types in Python's words and over several lines, for nested keys by
    # their last part alone; what the user typed and what was wanted is all that helps.
    if match := re.search(r'key "([^"]+)"', message):
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        wanted = re.findall(r"Expected an? (.+?)(?:\. Got|\n|$)", message)
        option = next((w for w in arguments if re.match(rf"--([\w.]*\.)?{match[1]}\b", w)), "")
        if given and wanted:
            kinds = " or ".join(re.sub(r"<class '(\w+)'>|typing\.", r"\1", w) for w in wanted)
            kinds = kinds.replace("NoneType", "null")
            return f"{option.partition('=')[0] or match[1]} wants {kinds}, got {given[-1]}"
    return message
