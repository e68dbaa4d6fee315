"""The options of scripts: help that fits on a screen, and errors that propose what was meant."""

import argparse
import pathlib
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from data_pipelines.messages import choices

WIDEST = 100  # columns of the help
SHOWN = 3  # of a long list
SHORT = 40  # characters of a list that is shown whole
VALUES = {int: "N", float: "X", pathlib.Path: "PATH"}  # how values are shown, by their type
INPUT = "the network's input, height x width as in the papers"


def make(doc: str) -> argparse.ArgumentParser:
    """A parser whose help begins with the docstring of a script, folded to the terminal's width."""
    return argparse.ArgumentParser(
        description=fold(doc), formatter_class=argparse.RawDescriptionHelpFormatter
    )


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """The options in `arguments`, by default those of the command line.

    An unknown option or command ends the script with a message that proposes near ones.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    commands = _commands(parser)
    for each in (parser, *commands.values()):
        for action in each._actions:
            action.metavar = action.metavar or VALUES.get(action.type)
        each.usage = _usage(each)
    chosen = next((text for text in arguments if not text.startswith("-")), None)
    if commands and chosen is not None and chosen not in commands:
        parser.error(choices.unknown("command", chosen, commands))
    at_work = commands.get(chosen, parser)
    known = {*parser._option_string_actions, *at_work._option_string_actions}
    for name in _names(arguments):
        if not any(option.startswith(name) for option in known):
            meant = choices.proposal(choices.near(name, sorted(known)), after="; ")
            at_work.error(f"unknown option {name}{meant or '; --help lists all of them'}")
    return parser.parse_args(arguments)


def one_of(names: Iterable[str], metavar: str = "") -> dict:
    """The settings of an option that takes one of some names: its type and how it is shown.

    Short lists are shown as {a,b}, longer ones as `metavar`.
    """
    names = list(names)

    def check(text):
        if text in names:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is not known; {choices.advice(text, names)}")

    shown = f"{{{','.join(names)}}}"
    return {"type": check, "metavar": shown if len(shown) <= SHORT or not metavar else metavar}


def height_width(text: str) -> tuple[int, int]:
    """The size of a network's input in HEIGHTxWIDTH, the papers' order."""
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text):
        raise ValueError(f"{text!r} is not a size; expected {INPUT}, e.g. 256x192")
    height, width = text.split("x")
    return int(height), int(width)


def folded(names: Iterable[str], topic: str) -> str:
    """A long list in a few words, and the command that prints it whole."""
    names = list(names)
    return (
        f"{len(names)} {topic}: {', '.join(names[:SHOWN])}, … (python -m hrjax.main --help={topic})"
    )


def fold(text: str) -> str:
    """Paragraphs folded to the terminal's width; indented lines, which are commands, stay lines."""
    width = _width()
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(_fold_paragraph(paragraph, width) for paragraph in paragraphs)


def _width():
    return min(WIDEST, shutil.get_terminal_size().columns) - 1


def _fold_paragraph(paragraph, width):
    lines = paragraph.replace("\\\n", "\n  ").split("\n")
    if not any(line.startswith(" ") for line in lines):
        return textwrap.fill(" ".join(lines), width)
    whole = []
    for line in lines:
        if whole and _indent(line) >= _indent(whole[-1]) + 4:  # goes on with the one before
            whole[-1] = f"{whole[-1].rstrip()} {line.strip()}"
        else:
            whole.append(line)
    return "\n".join(_fold_line(line, width) for line in whole)


def _fold_line(line, width):
    """A line that is too long goes on below, that of a command after a backslash."""
    is_command = line.strip().startswith("python ")
    term = re.match(r" *\S+ {2,}", line)  # of a list with explanations
    start = " " * _indent(line) if is_command or not term else term[0]
    parts = textwrap.wrap(
        line[len(start) :],
        width - 2 * is_command,
        initial_indent=start,
        subsequent_indent=f"{start}    " if is_command else " " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (" \\\n" if is_command else "\n").join(parts)


def _indent(line):
    return len(line) - len(line.lstrip(" "))


def _commands(parser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a script's commands by their names; {} where it has none."""
    found = [x for x in parser._actions if isinstance(x, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def _usage(parser):
    """The required options, and that there are more."""
    required = [
        f"{action.option_strings[-1]}={action.metavar or action.dest.upper()}"
        for action in parser._actions
        if action.required and action.option_strings
    ]
    groups = [
        "|".join(action.option_strings[-1] for action in group._group_actions)
        for group in parser._mutually_exclusive_groups
        if group.required
    ]
    command = ["COMMAND"] if _commands(parser) else []
    text = " ".join([parser.prog, *command, *required, *groups, "[options]"])
    width = _width() - len("usage: ")
    return textwrap.fill(text, width, subsequent_indent="    ", break_on_hyphens=False)


def _names(arguments):
    """The names of the long options in a command."""
    before = list(arguments)[: arguments.index("--")] if "--" in arguments else arguments
    return [text.split("=")[0] for text in before if text.startswith("--")]
