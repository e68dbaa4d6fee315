"""docs/troubleshooting.md quotes messages as the code words them."""

import ast
import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = [
    message
    for cell in re.findall(r"^\| (`[^|]+`) \|", PAGE, re.MULTILINE)
    for message in re.findall("`([^`]+)`", cell)
]
# Messages of Python, not of ours.
FOREIGN = ("No module named 'scripts'", "can't open file 'scripts/predict.py'")
SHORTEST = 6  # characters of a part that is looked for


@functools.cache
def texts() -> str:
    """All strings of the code, a line each; in f-strings, … stands for what is filled in."""
    lines = []
    for folder in ("hrjax", "data_pipelines", "scripts"):
        for file in ROOT.glob(f"{folder}/**/*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, "value", "…") for part in node.values)
                    lines.append("".join(x if isinstance(x, str) else "…" for x in parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    lines.append(node.value)
    return "\n".join(lines)


def test_there_are_many():
    assert len(QUOTED) > 30


@pytest.mark.parametrize("message", [message for message in QUOTED if message not in FOREIGN])
def test_a_quoted_message_is_one_of_the_code(message):
    parts = [part.strip() for part in message.split("…")]
    missing = [part for part in parts if len(part) >= SHORTEST and part not in texts()]
    assert not missing
