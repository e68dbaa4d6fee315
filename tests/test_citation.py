"""CITATION.cff is valid and belongs to this version."""

import pathlib
import tomllib

import pytest
import yaml

from hrjax import models

ROOT = pathlib.Path(__file__).parent.parent
# Required at the top, and of each reference, by the schema of the Citation File Format 1.2.0.
REQUIRED = {"authors", "cff-version", "message", "title"}
REQUIRED_OF_REFERENCES = {"authors", "title", "type"}
TYPES = {"article", "conference-paper"}  # of the schema's types, those that papers have
OF_PERSONS = {"family-names", "given-names"}
OF_ENTITIES = {"name"}
NAMES = {
    "hrnet": "HRNet",
    "litehrnet": "Lite-HRNet",
    "ditehrnet": "Dite-HRNet",
    "widehrnet": "WideHRNet",
    "hrformer": "HRFormer",
    "hrnext": "HRNeXt",
    "resnet": "Pose-ResNet",
}


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_requires(citation):
    assert set(citation) >= REQUIRED
    assert citation["cff-version"] == "1.2.0"
    for reference in citation["references"]:
        assert set(reference) >= REQUIRED_OF_REFERENCES
        assert reference["type"] in TYPES
    for author in [
        *citation["authors"],
        *(a for r in citation["references"] for a in r["authors"]),
    ]:
        assert set(author) in (OF_PERSONS, OF_ENTITIES)


def test_its_version_and_license_are_the_project_s(citation):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]


def test_every_family_with_a_published_paper_is_there(citation):
    families = {family.__name__.rpartition(".")[2] for family in models.FAMILIES.values()}
    expected = {NAMES[name] for name in families - {"efenet"}}  # its paper was not available
    assert {reference["notes"] for reference in citation["references"]} == expected


def test_papers_say_where_and_when_they_appeared(citation):
    for reference in citation["references"]:
        assert 2018 <= reference["year"] <= 2026
        assert ("journal" in reference) == (reference["type"] == "article")
        assert ("collection-title" in reference) == (reference["type"] == "conference-paper")
        address = reference.get("url", "https://doi.org/")
        assert address.startswith(("https://arxiv.org/abs/", "https://doi.org/"))
