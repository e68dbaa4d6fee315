"""What README and tutorials tell a reader to type works; what is not run has a reason."""

import ast
import re

import page_commands
import pytest
from page_commands import INSTEAD, INSTEAD_IN_PYTHON, NOT_RUN, PROGRAMS, ROOT, SMALLER

PAGES = [page_commands.read(path) for path in page_commands.PAGES]
EVERYWHERE = [page_commands.read(path) for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))]
on_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
FILE = re.compile(r"[\w.-]+/[\w./-]+")
OPTION = re.compile(r"(?<=\s)--(\w+)(?:=|\s|$)")


@on_every_page
def test_every_command_is_run_or_has_a_reason_not_to_be(page):
    unknown = [
        command
        for command in page.commands
        if not page_commands.reason_not_to_run(command) and not command.startswith(PROGRAMS)
    ]
    assert not unknown, f"say in {page_commands.__name__} how to run these, or why not: {unknown}"


@on_every_page
def test_a_block_is_commands_or_python_or_a_list_of_files(page):
    # A command of an unknown program, and Python with a mistake in it, would be neither.
    names = [line.split()[0] for line in page.others.splitlines() if line.strip()]
    assert not [name for name in names if not FILE.fullmatch(name)]


def test_the_start_page_has_commands_of_other_pages_alone():
    start = page_commands.read(ROOT / "docs" / "index.md")
    assert start.commands
    assert {*start.commands} <= {command for page in PAGES for command in page.commands}
    assert not start.code


@on_every_page
def test_python_on_a_page_is_python(page):
    ast.parse(page.code)


def test_no_entry_is_left_from_a_command_that_is_gone():
    commands = [command for page in PAGES for command in page.commands]
    code = "".join(page.code for page in PAGES)
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, command) for command in commands), pattern
    for pattern in (*INSTEAD, *SMALLER):
        assert any(re.search(pattern, command) for command in commands), pattern
    for pattern in INSTEAD_IN_PYTHON:
        assert re.search(pattern, code), pattern


@pytest.mark.parametrize("page", EVERYWHERE, ids=lambda page: page.path.name)
def test_scripts_have_the_options_that_pages_use(page):
    for command in page.commands:
        if match := re.search(r"(?:scripts|examples)/\w+\.py", command):
            script = ROOT / match[0]
            sources = [script, *script.parent.glob("*/*.py")]
            known = "".join(source.read_text(encoding="utf-8") for source in sources)
            for option in OPTION.findall(command):
                in_loop = "--{name}" in known and re.search(rf"(?<![-\w]){option}\b", known)
                assert f'"--{option}"' in known or in_loop, command


@pytest.mark.long
@on_every_page
def test_a_page_runs_from_top_to_bottom(page, tmp_path):
    failures = list(page_commands.run_page(page, tmp_path))
    assert not failures, "\n\n".join(failures)
