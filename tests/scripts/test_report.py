"""The script writes the page of an error analysis from files alone."""

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
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
    assert f"\nwrote {tmp_path / 'report.html'}: " in printed
    which, table, *_ = printed.splitlines()
    assert re.fullmatch(r"\d+ detections, \d+ annotated people in 4 images, joints of coco", which)
    assert table.startswith("AP ")
    report.main()
    assert f"\nreplaced {tmp_path / 'report.html'}: " in capsys.readouterr().out


def test_results_of_other_images_are_an_error(monkeypatch, command, tmp_path):
    results = tmp_path / "results.json"
    entries = json.loads(results.read_text())
    results.write_text(json.dumps([{**entry, "image_id": 999999} for entry in entries]))
    monkeypatch.setattr(sys, "argv", ["report.py", *command])
    with pytest.raises(SystemExit, match=r"images of the detections are not in .*e\.g\. 999999"):
        report.main()


@pytest.mark.parametrize("name", ["results.json", "link.json"])
def test_the_page_replaces_no_input(monkeypatch, command, tmp_path, name):
    (tmp_path / "link.json").symlink_to("results.json")
    before = (tmp_path / "results.json").read_text()
    arguments = [*command, f"--output={tmp_path / name}"]
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    with pytest.raises(SystemExit, match="would replace the input"):
        report.main()
    assert (tmp_path / "results.json").read_text() == before


def test_a_file_without_entries_is_named(monkeypatch, command, tmp_path):
    (tmp_path / "results.json").write_text("[]")
    monkeypatch.setattr(sys, "argv", ["report.py", *command])
    with pytest.raises(SystemExit, match=r"results\.json is an empty list: there is nothing"):
        report.main()


def test_images_outside_of_the_folder_never_get_into_the_page(monkeypatch, command, tmp_path):
    source = next(part for part in command if part.startswith("--annotations")).partition("=")[2]
    with open(source) as file:
        content = json.load(file)
    content["images"][0]["file_name"] = str(tmp_path / "secret.jpg")
    (tmp_path / "truth.json").write_text(json.dumps(content))
    arguments = [*command, f"--annotations={tmp_path}/truth.json"]
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    with pytest.raises(SystemExit, match=r"truth\.json: the image '.*secret.jpg' is to be in"):
        report.main()
    assert not (tmp_path / "report.html").exists()


def test_a_name_that_is_not_utf8_is_in_the_page(command, tmp_path):
    results = tmp_path / os.fsdecode(b"\xff.json")
    (tmp_path / "results.json").rename(results)
    page = tmp_path / "page.html"
    arguments = [*command, f"--results={results}", f"--output={page}"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, report.__file__, *arguments], check=True, env=environment)
    assert "\\udcff.json against" in page.read_text(encoding="utf-8")


def test_annotations_are_read_by_the_rules_of_their_dataset(monkeypatch, capsys, tmp_path):
    # JHMDB's coordinates count from 1, predictions from 0: without the rule they differ by a pixel.
    joints = [[20 * k % 90, 7 * k, 2] for k in range(1, 16)]
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 100, 110], "area": 40}
    person |= {"keypoints": [number for joint in joints for number in joint], "iscrowd": 0}
    lists = {"images": [{"id": 1, "file_name": "a.png", "width": 120, "height": 120}]}
    lists |= {"annotations": [person], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "Sub1_test.json").write_text(json.dumps(lists))
    found = [number for x, y, _ in joints for number in (x - 1, y - 1, 0.9)]
    entry = {"image_id": 1, "category_id": 1, "keypoints": found, "score": 0.9}
    (tmp_path / "results.json").write_text(json.dumps([entry]))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((120, 120, 3), np.uint8))
    given = [f"--results={tmp_path}/results.json", f"--annotations={tmp_path}/Sub1_test.json"]
    given += [f"--images={tmp_path}", f"--output={tmp_path}/report.html", "--dataset=jhmdb"]
    monkeypatch.setattr(sys, "argv", ["report.py", *given])
    report.main()
    assert capsys.readouterr().out.split("\n")[2].startswith("1.0000")
