"""The documentation as a site: links out of docs, languages of code, and a strict build."""

import logging
import re
import subprocess
import sys

import page_commands
import pytest
from page_commands import ROOT

import hrjax

hooks = page_commands.site_hooks()
REPOSITORY = "https://example.org/us/hrjax"


@pytest.mark.parametrize(
    ("path", "page", "expected"),
    [
        ("../hrjax/oks.py", "predicting.md", f"{REPOSITORY}/blob/main/hrjax/oks.py"),
        ("../../README.md", "tutorials/photo.md", f"{REPOSITORY}/blob/main/README.md"),
        ("../scripts", "index.md", f"{REPOSITORY}/tree/main/scripts"),
        ("../CHANGELOG.md", "index.md", "changelog.md"),
        ("../../CONTRIBUTING.md", "tutorials/photo.md", "../contributing.md"),
        ("film.md", "predicting.md", "film.md"),
        ("../film.md", "tutorials/film.md", "../film.md"),
        ("https://docs.jax.dev/x", "index.md", "https://docs.jax.dev/x"),
    ],
)
def test_links_lead_to_pages_and_otherwise_to_the_repository(path, page, expected):
    assert hooks.resolve(path, f"docs/{page}", page, REPOSITORY) == expected


def test_links_of_a_page_that_lies_outside_of_docs():
    found = hooks.resolve("docs/data.md", "CONTRIBUTING.md", "contributing.md", REPOSITORY)
    assert found == "data.md"


def test_a_link_to_a_missing_file_is_a_warning_which_ends_a_strict_build(caplog):
    with caplog.at_level(logging.WARNING):
        hooks.resolve("../hrjax/nothing.py", "docs/index.md", "index.md", REPOSITORY)
    assert "docs/index.md: the link ../hrjax/nothing.py leads to nothing" in caplog.text


def test_code_gets_its_language():
    page = (
        "Run\n\n    python x.py\n\nor\n\n    x = 1\n\n    y = 2\n\n"
        "makes\n\n    a/b   a file\n\nend\n"
    )
    expected = (
        "Run\n\n```bash\npython x.py\n```\n\nor\n\n```python\nx = 1\n\ny = 2\n```\n\n"
        "makes\n\n```text\na/b   a file\n```\n\nend\n"
    )
    assert hooks.highlight(page) == expected


def test_fenced_code_stays_as_it_is():
    page = "```text\na\n\n    python x.py\n\nb\n```\n"
    assert hooks.highlight(page) == page


def test_every_command_is_described():
    page = hooks.describe_commands()
    for script in ROOT.glob("scripts/*.py"):
        assert f"## scripts/{script.name}\n" in page


def test_the_address_of_the_repository_is_written_once():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (address,) = re.findall(r"^repo_url: (\S+)$", text, re.MULTILINE)
    for page in (ROOT / "README.md", ROOT / "pyproject.toml", *ROOT.glob("docs/**/*.md")):
        assert address not in page.read_text(encoding="utf-8")


@pytest.mark.long
def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    for page in ("index", "networks", "tutorials/photo", "reference/hrjax", "reference/commands"):
        assert "</html>" in (tmp_path / f"{page}.html").read_text(encoding="utf-8")
    recipes = (tmp_path / "reference" / "recipes.html").read_text(encoding="utf-8")
    assert "lr_base_batch" in recipes  # the fields of configs/common.py
    reference = (tmp_path / "reference" / "predictions.html").read_text(encoding="utf-8")
    assert "Follows people through a film" in reference


def test_the_reference_has_every_public_name():
    pages = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/reference/*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    assert {f"hrjax.{name}" for name in hrjax.__all__} - shown == {"hrjax.__version__"}
