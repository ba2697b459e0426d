"""From the words of a command to the command's `run`, and from its errors to one sentence."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from detlearn.cli import data, detect, doctor, evaluate, grade, nbgrader, train
from detlearn.cli.errors import explain, shows_traceback

# Where words go that stand behind an option, and as what; argparse takes them in one row only.
MORE_WORDS = {"data": ("words", str), "detect": ("images", Path)}

OUTPUT_CLOSED = 141  # the exit status that a shell knows for it

COMMANDS = {
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "detect": detect,
    "grade": grade,
    "nbgrader": nbgrader,
    "doctor": doctor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``detlearn``; those of the process by default.

    Returns:
        The exit status: 0, 2 after an error that was said in one sentence (as after a word that is
        not understood), 130 after Ctrl-C, which ends `grade` at once instead. `doctor` and `grade`
        return 1 for what they found, and any command 141 where nobody reads what it writes.
    """
    options = parse(arguments)

    with warnings.catch_warnings():
        # One line on stderr instead of a path and a line of source.
        warnings.showwarning = lambda message, *rest: print(f"note: {message}", file=sys.stderr)

        # Errors of the package are written for readers, and torch's are explained; any other one
        # is ours and is shown whole.
        try:
            status = options.run(options)
            sys.stdout.flush()
            return status
        except (
            ValueError,
            TypeError,
            OSError,
            FloatingPointError,
            MemoryError,
            RuntimeError,
        ) as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                return OUTPUT_CLOSED
            if shows_traceback():
                raise
            print(f"detlearn {options.command}: {explain(error, options.command)}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as stop:
            # What can be gone on with, only the command knows.
            print(": ".join([f"detlearn {options.command}: stopped", *stop.args]), file=sys.stderr)
            return 130


def _nobody_reads() -> bool:
    """Return whether who read the output has enough of it, as in ``detlearn data … | head``.

    What is still to be written then goes nowhere, or Python would complain at its end.
    """
    try:
        print(flush=True)  # a write that failed leaves nothing to flush
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Understand a command, of which options may stand anywhere between its words.

    Args:
        arguments: the words after ``detlearn``; those of the process by default.

    Raises:
        SystemExit: with status 2 after a word that is not understood, with 0 after the help.
    """
    options, rest = make_parser().parse_known_args(arguments)
    if not rest:
        return options

    if options.command not in MORE_WORDS or any(word.startswith("-") for word in rest):
        options.usage_error(f"unrecognized arguments: {' '.join(rest)}")
    name, kind = MORE_WORDS[options.command]
    getattr(options, name).extend(kind(word) for word in rest)
    return options


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="detlearn",
        description="The command line of the book on object detection.",
    )

    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.ABOUT,
            description=module.ABOUT,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,  # examples keep their lines
        )
        module.add_arguments(command)

        # What argparse cannot see, a command finds out later and says in the same way.
        command.set_defaults(run=module.run, usage_error=command.error)

    return parser
