"""Hooks of the documentation site: what mkdocs does with the pages before it renders them.

The pages are written for readers of the repository, where a link such as `../hrjax/oks.py` leads to
the file. In the site such links lead to the repository's address (`repo_url` in mkdocs.yml), or to
the page that the file became. CHANGELOG.md and CONTRIBUTING.md become pages, and so do the
descriptions of the commands.
"""

import ast
import logging
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

from hrjax.config import command_line

logger = logging.getLogger(f"mkdocs.hooks.{__name__}")  # warnings end a strict build

ROOT = pathlib.Path(__file__).parent.parent
# Files outside of docs that are pages of the site.
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
COMMANDS = "reference/commands.md"
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}.*\n|\n(?= {4}))+)")
PROGRAMS = ("python", "pip", "pytest", "git", "cd", "bash", "mkdocs", "ruff", "trtexec", "time")


def on_files(files, config):
    """Adds the pages that lie outside of docs, and the one that is made of the commands."""
    for name, page in PAGES.items():
        content = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, COMMANDS, content=describe_commands()))
    return files


def describe_commands() -> str:
    """A page with the description that each command prints for --help, before its options."""
    parts = ["# Commands", "What each command does. `--help` lists the options as well."]
    parts += ["## python -m hrjax.main", f"```text\n{command_line.usage().strip()}\n```"]
    for file in sorted(ROOT.glob("scripts/*.py")):
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        parts += [f"## scripts/{file.name}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown, page, config, files):
    """Leads links that leave docs to the repository, and names the language of indented code."""
    place = {page: name for name, page in PAGES.items()}.get(page.file.src_uri)
    source = place or f"docs/{page.file.src_uri}"

    def replace(match):
        before, path, anchor, after = match.groups()
        target = resolve(path, source, page.file.src_uri, config.repo_url)
        return f"{before}{target}{anchor or ''}{after}"

    return highlight(LINK.sub(replace, markdown))


def resolve(path: str, source: str, page: str, repository: str) -> str:
    """Where a link of the file `source`, which is the page `page`, leads in the site."""
    if ":" in path or path.startswith("/"):
        return path
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    here = posixpath.dirname(page)
    if target in PAGES:
        return posixpath.relpath(PAGES[target], here or ".")
    if target.startswith("docs/"):
        return posixpath.relpath(target.removeprefix("docs/"), here or ".")
    if not (ROOT / target).exists():
        logger.warning("%s: the link %s leads to nothing", source, path)
    kind = "tree" if (ROOT / target).is_dir() else "blob"
    return f"{repository.rstrip('/')}/{kind}/main/{target}"


def highlight(markdown: str) -> str:
    """Makes indented code fenced, with the language that it is in; fenced code stays as it is."""

    def fence(match):
        code = re.sub("^ {4}", "", match[1].rstrip(), flags=re.MULTILINE)
        return f"```{language(code)}\n{code}\n```\n"

    parts = FENCED.split(markdown)
    return "".join(x if FENCED.fullmatch(x) else BLOCK.sub(fence, x) for x in parts)


def language(code: str) -> str:
    """The language of a block of code: bash, python or text."""
    lines = code.splitlines()
    if any(line.split(" ")[0] in PROGRAMS for line in lines):
        return "bash"
    try:
        ast.parse(code)
    except SyntaxError:
        return "text"
    return "python"
