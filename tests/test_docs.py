"""Files, dotted names, config fields and links that the documentation mentions exist."""

import dataclasses
import functools
import importlib
import pathlib
import re

import pytest

from configs import hrnet_coco
from hrjax import models

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = "configs|data_pipelines|docs|hrjax|notebooks|scripts|tests"
FILE = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]*\w\.(?:py|md|json|ipynb|sh))\b")
DOTTED = re.compile(r"(?<![\w./-])((?:hrjax|data_pipelines)(?:\.[A-Za-z_]\w*)+)")
CONFIG_FIELD = re.compile(r"(?<![\w./])config\.((?!json\b)[a-z_]\w*(?:\.[a-z_]\w*)*)")
# `train.batch_size`, `datasets.DATASETS`: a config section or a module, and a member of it.
MEMBER = re.compile(r"`([a-z_]+)\.(\w+)(?:[=.][^`]*)?`")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")
FILE_ENDINGS = ("jpg", "json", "jsonl", "mat", "npz", "onnx", "pdparams", "pth", "py")

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/golden/*/README.md")]
on_every_page = pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]
)


@functools.cache
def config_fields() -> frozenset[str]:
    """The dotted names of all sections and fields of a recipe, with any network's own fields."""
    fields = set()

    def walk(section, prefix):
        for key, value in section.items():
            fields.add(f"{prefix}{key}")
            if hasattr(value, "items"):
                walk(value, f"{prefix}{key}.")

    walk(hrnet_coco.get_config(), "")
    networks = models.VARIANTS.values()
    return frozenset(fields).union(
        f"model.{field.name}" for network in networks for field in dataclasses.fields(network)
    )


@functools.cache
def modules() -> frozenset[str]:
    """The dotted names of our modules."""
    files = [*ROOT.glob("hrjax/**/*.py"), *ROOT.glob("data_pipelines/**/*.py")]
    return frozenset(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)


def resolves(name: str) -> bool:
    """Whether a dotted name leads to a module or to something in one."""
    module, *attributes = name.split(".")
    thing = importlib.import_module(module)
    for attribute in attributes:
        module = f"{module}.{attribute}"
        inside = any(f"{name}.".startswith(f"{module}.") for name in modules())
        if not hasattr(thing, attribute) and inside:
            importlib.import_module(module)
        if not hasattr(thing, attribute):
            return False
        thing = getattr(thing, attribute)
    return True


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@on_every_page
def test_files_exist(page):
    mentions = set(FILE.findall(page.read_text()))
    assert {name for name in mentions if not (ROOT / name).is_file()} == set()


@on_every_page
def test_dotted_names_exist(page):
    mentions = set(DOTTED.findall(page.read_text()))
    assert {name for name in mentions if not resolves(name)} == set()


@on_every_page
def test_config_fields_exist(page):
    assert set(CONFIG_FIELD.findall(page.read_text())) - config_fields() == set()


@on_every_page
def test_members_of_config_sections_and_of_modules_exist(page):
    missing = set()
    for owner, member in MEMBER.findall(page.read_text()):
        places = [f"{name}.{member}" for name in modules() if name.endswith(f".{owner}")]
        known = places or owner in config_fields()
        exists = f"{owner}.{member}" in config_fields() or any(map(resolves, places))
        if known and not exists and member not in FILE_ENDINGS:
            missing.add(f"{owner}.{member}")
    assert missing == set()


@on_every_page
def test_links_lead_to_pages_and_headings(page):
    broken = set()
    for path, anchor in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.add(f"{path}#{anchor}")
    assert broken == set()
