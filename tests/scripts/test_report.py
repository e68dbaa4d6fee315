"""The script writes the page of an error analysis from files alone."""

import json
import sys

import pytest

from scripts import report


@pytest.fixture
def command(drawn, tmp_path):
    """The arguments for drawn people, whose results are the truth."""
    annotations = drawn / "annotations/person_keypoints_val2017.json"
    people = json.loads(annotations.read_text())["annotations"]
    entries = [{**entry, "score": 0.9} for entry in people]
    keys = ("image_id", "category_id", "keypoints", "score")
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{key: entry[key] for key in keys} for entry in entries]))
    files = [f"--results={results}", f"--annotations={annotations}"]
    return [*files, f"--images={drawn}/val2017", f"--output={tmp_path}/report.html"]


def test_writes_a_page(monkeypatch, capsys, command, tmp_path):
    monkeypatch.setattr(sys, "argv", ["report.py", *command])
    report.main()
    page = (tmp_path / "report.html").read_text()
    assert "What errors cost" in page
    assert "data:image/jpeg" in page
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert printed.startswith("AP ")


def test_results_of_other_images_are_an_error(monkeypatch, command, tmp_path):
    results = tmp_path / "results.json"
    entries = json.loads(results.read_text())
    results.write_text(json.dumps([{**entry, "image_id": 999999} for entry in entries]))
    monkeypatch.setattr(sys, "argv", ["report.py", *command])
    with pytest.raises(SystemExit, match=r"images of the detections are not in .*e\.g\. 999999"):
        report.main()
