"""Help fits on a screen, and wrong options get near ones."""

import argparse
import pathlib

import pytest

from hrjax.runtime import script_options

DOC = """Does a thing with some files, in a first sentence that is longer than a terminal of eighty.

    python scripts/thing.py --first_option=some/long/file.json --second_option=other/file.json \\
        --third
    python scripts/thing.py --short

Modes:
  fast   it is fast and says a lot about itself in a line that does not fit into eighty columns
  slow   it is not
"""
FOLDED = r"""Does a thing with some files, in a first sentence that is longer than a
terminal of eighty.

    python scripts/thing.py --first_option=some/long/file.json \
        --second_option=other/file.json --third
    python scripts/thing.py --short

Modes:
  fast   it is fast and says a lot about itself in a line that does not fit
         into eighty columns
  slow   it is not"""


def parser():
    made = script_options.make(DOC)
    made.add_argument("--checkpoint", required=True)
    made.add_argument("--threshold", type=float, help="a number")
    made.add_argument("--decode", **script_options.one_of(("dark", "udp")), default="dark")
    return made


def parser_with_commands():
    made = script_options.make(DOC)
    commands = made.add_subparsers(required=True)
    commands.add_parser("check").add_argument("--dataset")
    commands.add_parser("build").add_argument("--out", type=pathlib.Path)
    return made


def test_descriptions_are_folded_to_the_terminal_and_commands_stay_commands(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert script_options.fold(DOC) == FOLDED


def test_the_usage_names_what_is_required(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made = parser()
    script_options.parse(made, ["--checkpoint=x"])
    help_text = made.format_help()
    assert help_text.startswith("usage: ")
    assert "--checkpoint=CHECKPOINT [options]\n" in help_text
    assert "--threshold X" in help_text
    assert "--decode {dark,udp}" in help_text
    assert max(map(len, help_text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--chekpoint=x"], "unknown option --chekpoint; did you mean --checkpoint?"),
        (["--checkpoint=x", "--xyz"], "unknown option --xyz; --help lists all of them"),
        (
            ["--checkpoint=x", "--decode=drak"],
            "argument --decode: 'drak' is not known; did you mean dark? Choose one of: dark, udp",
        ),
    ],
)
def test_a_wrong_option_gets_near_ones(command, message, capsys):
    with pytest.raises(SystemExit) as ended:
        script_options.parse(parser(), command)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["chek"], "unknown command 'chek'; did you mean check? Choose one of: check, build"),
        (["check", "--datset=x"], "unknown option --datset; did you mean --dataset?"),
        (["check", "--out=x"], "unknown option --out"),  # of another command
    ],
)
def test_wrong_commands_and_their_options_get_near_ones(command, message, capsys):
    with pytest.raises(SystemExit):
        script_options.parse(parser_with_commands(), command)
    assert message in capsys.readouterr().err


def test_right_options_are_parsed_also_where_they_are_shortened():
    options = script_options.parse(parser(), ["--check=runs/x", "--threshold", "-0.5"])
    assert (options.checkpoint, options.threshold, options.decode) == ("runs/x", -0.5, "dark")
    assert script_options.parse(parser_with_commands(), ["build", "--out=a"]).out.name == "a"


def test_long_lists_are_folded():
    names = [f"net_{number}" for number in range(20)]
    assert script_options.one_of(names, "NET")["metavar"] == "NET"
    text = script_options.folded(names, "models")
    assert text == "20 models: net_0, net_1, net_2, … (python -m hrjax.main --help=models)"
    with pytest.raises(argparse.ArgumentTypeError, match="did you mean net_1, net_10 or net_11"):
        script_options.one_of(names)["type"]("net_1x")


@pytest.mark.parametrize("text", ["256", "256x", "0x192", "256x192x3", "axb", "256 x 192", "٣x٣"])
def test_sizes_of_inputs_are_height_times_width(text):
    assert script_options.height_width("256x192") == (256, 192)
    with pytest.raises(ValueError, match=r"is not a size; .*height x width .*256x192"):
        script_options.height_width(text)
