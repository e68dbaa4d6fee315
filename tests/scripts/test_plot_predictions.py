"""Pictures of a file of results."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from data_pipelines.skeletons import COCO
from scripts import plot_predictions


@pytest.fixture
def run(monkeypatch, tmp_path):
    def command(*arguments):
        places = ["--prediction=results.json", "--root=images", "--save_path=out"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["plot_predictions.py", *places, *arguments])
        plot_predictions.main()
        return sorted(path.name for path in (tmp_path / "out").iterdir())

    return command


@pytest.fixture
def files(tmp_path):
    """Two images; two people in the one, one in the other, who look to the right."""
    (tmp_path / "images").mkdir()
    for number in (785, 139):
        cv2.imwrite(str(tmp_path / "images" / f"{number:012d}.jpg"), np.zeros((60, 80, 3)))
    joints = [[10 + 2 * k, 30, 0.9] for k in range(17)]
    rows = [
        {"image_id": i, "category_id": 1, "keypoints": np.ravel(joints).tolist(), "score": score}
        for i, score in ((785, 0.9), (785, 0.7), (139, 0.1234))
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    return tmp_path


def test_names_begin_with_the_mean_score(run, files, capsys):
    names = ["score_123_id_139_000000000139.png", "score_800_id_785_000000000785.png"]
    assert run() == names
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "drew 3 people with the joints of coco"
    assert said[1].startswith("wrote out/score_")
    assert run() == names
    assert capsys.readouterr().out.splitlines()[1].startswith("replaced out/score_")
    picture = cv2.imread(str(files / "out" / "score_800_id_785_000000000785.png"))
    assert picture.shape == (60, 80, 3)
    assert picture[30].any()
    assert not picture[:20].any()


def test_people_of_low_scores_are_left_out(run, files):
    assert run("--min_score=0.8") == [
        *("score_000_id_139_000000000139.png", "score_900_id_785_000000000785.png")
    ]
    assert not cv2.imread(str(files / "out" / "score_000_id_139_000000000139.png")).any()


def test_the_truth_stands_on_the_right(run, files):
    truth = np.zeros((COCO.num_joints, 3))
    truth[:, 0], truth[:, 1], truth[:, 2] = 40, np.linspace(5, 55, 17), 2
    annotation = {"id": 1, "image_id": 139, "category_id": 1, "bbox": [30, 5, 20, 50]}
    annotation["keypoints"] = truth.ravel().astype(int).tolist()
    size = {"width": 80, "height": 60}
    images = [{"id": x, "file_name": f"{x:012d}.jpg", **size} for x in (139, 785)]
    contents = {"images": images, "annotations": [annotation]}
    contents["categories"] = [{"id": 1, "name": "person"}]
    (files / "truth.json").write_text(json.dumps(contents))
    name, other = run("--truth=truth.json")
    sheet = cv2.imread(str(files / "out" / name))
    assert sheet.shape == (60, 160, 3)
    assert not sheet[:20, :80].any()
    assert sheet[:20, 80:].any()
    assert not cv2.imread(str(files / "out" / other))[:, 80:].any()  # no person is annotated


def test_joints_of_unknown_skeletons_are_dots(run, files):
    row = {"image_id": 785, "keypoints": [20, 30, 0.9, 60, 30, 0.9], "score": 0.5}
    (files / "results.json").write_text(json.dumps([row]))
    (name,) = run()
    drawn = cv2.imread(str(files / "out" / name)).any(axis=-1)
    assert drawn[30, 20]
    assert drawn[30, 60]
    assert not drawn[:, 30:50].any()


def test_missing_images_are_listed_and_the_rest_is_drawn(run, files):
    (files / "images" / "000000000139.jpg").unlink()
    with pytest.raises(SystemExit, match="error: there is no image 139 in images or its"):
        run()
    assert [path.name for path in (files / "out").iterdir()] == [
        "score_800_id_785_000000000785.png"
    ]


def test_a_missing_file_is_one_message(run, tmp_path):
    with pytest.raises(SystemExit, match=r"error: there is no results file results\.json"):
        run()


def test_help_shows_the_commands():
    command = [sys.executable, plot_predictions.__file__, "--help"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert "--truth=data/coco" in answer.stdout


def write_results(folder, **fields):
    rows = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps([{**row, **fields} for row in rows]))


def test_the_folder_of_the_images_is_not_drawn_into(run, files):
    (files / "link").symlink_to("images")
    before = sorted(path.name for path in (files / "images").iterdir())
    for place in ("images", "link", "images/../images"):
        with pytest.raises(SystemExit, match="holds the images; choose another --save_path"):
            run(f"--save_path={place}")
    assert sorted(path.name for path in (files / "images").iterdir()) == before


def test_earlier_drawings_below_the_images_are_not_drawn_on(run, files):
    (files / "out").mkdir()
    run("--save_path=images/drawn")
    before = {path.name: path.read_bytes() for path in (files / "images/drawn").iterdir()}
    run("--save_path=images/drawn")
    assert {path.name: path.read_bytes() for path in (files / "images/drawn").iterdir()} == before


@pytest.mark.parametrize("name", ["../secret.jpg", "/secret.jpg", "a/../../secret.jpg"])
def test_images_outside_of_the_folder_are_not_drawn(run, files, name):
    cv2.imwrite(str(files / "secret.jpg"), np.full((60, 80, 3), 200))
    rows = json.loads((files / "results.json").read_text())[:1]
    name = str(files / "secret.jpg") if name[0] == "/" else name
    rows = [{**row, "file_name": name, "image_id": None} for row in rows]
    (files / "results.json").write_text(json.dumps(rows))
    with pytest.raises(SystemExit, match=r"there is no image .*secret\.jpg in images"):
        run()
    assert list((files / "out").iterdir()) == []


def test_pictures_stay_in_their_folder_and_have_names_of_their_own(run, files):
    for folder in ("cam1", "cam2"):
        (files / "images" / folder).mkdir()
        cv2.imwrite(str(files / "images" / folder / "0001.jpg"), np.zeros((60, 80, 3)))
    row = json.loads((files / "results.json").read_text())[0]
    names = ("cam1/0001.jpg", "cam2/0001.jpg")
    rows = [{**row, "file_name": name, "image_id": None} for name in names]
    (files / "results.json").write_text(json.dumps(rows))
    assert run() == ["score_900_0001.png", "score_900_0001_2.png"]


def test_a_long_name_is_shortened(run, files):
    (files / "images" / f"{'x' * 250}.jpg").write_bytes(
        (files / "images" / "000000000785.jpg").read_bytes()
    )
    write_results(files, file_name=f"{'x' * 250}.jpg")
    assert [len(name) for name in run()] == [len("score_579_id_785_.png") + 180]


def test_a_name_that_no_file_has_is_named(run, files):
    write_results(files, file_name="a\0b.jpg")
    with pytest.raises(SystemExit, match=r"results\.json: entry 0: its file name is \"a"):
        run()
