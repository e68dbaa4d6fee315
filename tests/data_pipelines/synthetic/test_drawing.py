"""Synthetic datasets: both layouts agree, drawing is deterministic, and writing is atomic."""

import errno
import fcntl
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import scipy.io
from pycocotools.coco import COCO as CocoFile
from pycocotools.cocoeval import COCOeval

from data_pipelines import geometry, images
from data_pipelines.readers import coco, mpii
from data_pipelines.readers.request import Request
from data_pipelines.skeletons import COCO, MPII
from data_pipelines.synthetic import clothes, drawing, figures, postures, scenes

ARGUMENTS = {"train_images": 4, "val_images": 2, "seed": 5, "image_size": (120, 160)}
SHARED_JOINTS = [
    (MPII.names.index(name), COCO.names.index(name)) for name in MPII.names if name in COCO.names
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("drawn") / "people"
    drawing.write_if_missing(root, **ARGUMENTS, workers=1)
    return root


def read_json(path: pathlib.Path):
    return json.loads(path.read_text())


def annotations(root: pathlib.Path, split: str) -> list[tuple[dict, dict]]:
    """Each person's entry in the MPII file and in the COCO file."""
    in_mpii = read_json(root / f"annotations/mpii_{split}.json")
    in_coco = read_json(root / f"annotations/person_keypoints_{split}2017.json")["annotations"]
    return list(zip(in_mpii, in_coco, strict=True))


def redraw(split: str, index: int):
    rng = np.random.default_rng([ARGUMENTS["seed"], ("train", "val").index(split), index])
    return scenes.draw_scene(rng, ARGUMENTS["image_size"])


def contents(root: pathlib.Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_files_are_where_both_layouts_expect_them(root):
    names = set(contents(root))
    assert {name for name in names if not name.startswith("images/")} == {
        "synthetic.json",
        "annotations/mpii_train.json",
        "annotations/mpii_val.json",
        "annotations/mpii_gt_val.mat",
        "annotations/person_keypoints_train2017.json",
        "annotations/person_keypoints_val2017.json",
    }
    assert sum(name.startswith("images/train2017/") for name in names) == 4
    assert sum(name.startswith("images/val2017/") for name in names) == 2


def test_the_number_of_workers_does_not_change_a_byte(root, tmp_path):
    drawing.write(tmp_path / "again", **ARGUMENTS, workers=2)
    assert contents(tmp_path / "again") == contents(root)


def test_another_seed_draws_another_image():
    image, _ = scenes.draw_scene(np.random.default_rng(0), (96, 128))
    same, _ = scenes.draw_scene(np.random.default_rng(0), (96, 128))
    other, _ = scenes.draw_scene(np.random.default_rng(1), (96, 128))
    assert image.shape == (96, 128, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, same)
    assert (image != other).mean() > 0.5


def test_a_seed_keeps_drawing_the_same_image():
    """When this fails on purpose, increase drawing.VERSION and record the numbers again."""
    image, people = scenes.draw_scene(np.random.default_rng(0), (240, 320))
    np.testing.assert_allclose(image.mean(axis=(0, 1)), [115.999, 120.566, 130.024], atol=0.02)
    noses_and_wrists = [person.coco[[0, 9]] for person in people]
    recorded = [[(262.438, 34.042), (313.273, 83.762)], [(96.663, 107.775), (40.098, 128.370)]]
    np.testing.assert_allclose(noses_and_wrists, recorded, atol=1e-3)
    np.testing.assert_allclose([person.mask.sum() for person in people], [7435, 8439], atol=2)


def test_images_on_disk_are_those_of_draw_scene(root):
    image, _ = redraw("train", 2)
    stored = images.read_image(str(root / "images/train2017/000000000003.jpg"))
    # JPEG with a quality of at least 85; swapped channels or images would differ by dozens.
    assert np.abs(image.astype(float) - stored).mean() < 6


@pytest.mark.parametrize("split", ["train", "val"])
def test_both_layouts_agree_on_the_joints(root, split):
    images = {
        image["id"]: f"{split}2017/{image['file_name']}"
        for image in read_json(root / f"annotations/person_keypoints_{split}2017.json")["images"]
    }
    for in_mpii, in_coco in annotations(root, split):
        assert in_mpii["image"] == images[in_coco["image_id"]]
        points = np.array(in_coco["keypoints"]).reshape(17, 3)
        for a, b in SHARED_JOINTS:
            assert in_mpii["joints_vis"][a] == (points[b, 2] > 0)
            if in_mpii["joints_vis"][a]:
                # COCO counts pixels from 0, MPII from 1; the files round to 0.01.
                one_based = points[b, :2] + 1
                np.testing.assert_allclose(in_mpii["joints"][a], one_based, atol=0.0051)


@pytest.mark.parametrize("split", ["train", "val"])
def test_joints_inside_the_image_are_flagged(root, split):
    height, width = ARGUMENTS["image_size"]
    drawn = [
        person
        for index in range(ARGUMENTS[f"{split}_images"])
        for person in redraw(split, index)[1]
    ]
    for (in_mpii, in_coco), person in zip(annotations(root, split), drawn, strict=True):
        inside = ((person.mpii >= 0) & (person.mpii <= [width - 1, height - 1])).all(axis=1)
        np.testing.assert_array_equal(in_mpii["joints_vis"], inside)
        assert (np.array(in_mpii["joints"])[~inside] == -1).all()
        points = np.array(in_coco["keypoints"]).reshape(17, 3)
        body = ((person.coco >= 0) & (person.coco <= [width - 1, height - 1])).all(axis=1)[5:]
        np.testing.assert_array_equal(points[5:, 2] > 0, body)
        assert (points[points[:, 2] == 0] == 0).all()
        assert in_coco["num_keypoints"] == (points[:, 2] > 0).sum()


def test_boxes_areas_and_outlines_match_the_drawn_pixels(root):
    file = CocoFile(root / "annotations/person_keypoints_train2017.json")
    drawn = [person for index in range(4) for person in redraw("train", index)[1]]
    assert len(drawn) == len(file.anns)
    for number, person in enumerate(drawn, start=1):
        entry = file.anns[number]
        rows, columns = np.nonzero(person.mask)
        assert entry["area"] == len(rows)
        x, y, width, height = entry["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
        outline = np.zeros(person.mask.shape, np.uint8)
        lines = [np.array(line).reshape(-1, 2) for line in entry["segmentation"]]
        cv2.fillPoly(outline, lines, 1)
        # Specks of one or two pixels have no outline, and outlines ignore holes.
        assert (person.mask & (outline == 0)).sum() <= 8
        assert (outline & ~person.mask).sum() < 0.3 * len(rows)


def test_visible_joints_lie_on_the_person():
    people = [person for seed in range(8) for person in draw_small(seed)]
    pixels = [np.rint(person.coco[person.coco_flags == 2]).astype(int) for person in people]
    for person, (x, y) in zip(people, (points.T for points in pixels), strict=True):
        assert person.mask[y, x].all()
    flags = np.concatenate([person.coco_flags for person in people])
    assert np.mean(flags == 2) > 0.6
    assert np.mean(flags == 1) > 0.03


def test_a_person_behind_another_is_occluded():
    rng = np.random.default_rng(3)
    canvas = figures.Canvas(np.zeros((96, 96, 3), np.float32), light=np.array([0.0, -1, 1]))
    body = postures.random_body(rng).placed(60, np.array([48, 48]))
    for person in (0, 1):
        figures.paint_person(canvas, body, clothes.random_outfit(rng), person)
    behind, in_front = (
        np.array([figures.visibility_flag(canvas, body, person, name) for name in COCO.names])
        for person in (0, 1)
    )
    np.testing.assert_array_equal(behind > 0, in_front > 0)
    assert (behind < 2).all()
    assert (in_front == 2).sum() >= 8


def draw_small(seed: int) -> list:
    return scenes.draw_scene(np.random.default_rng(seed), (120, 160))[1]


def test_the_left_side_is_on_the_right_in_front_views_only():
    fronts, backs = 0, 0
    for seed in range(200):
        body = postures.random_body(np.random.default_rng(seed))
        forward, down = body.frames["chest"][2, 2], body.frames["chest"][1, 1]
        across = body.points["left_shoulder"] - body.points["right_shoulder"]
        if down > 0.7 and forward > 0.6:
            fronts += 1
            assert across[0] > 0
        if down > 0.7 and forward < -0.6:
            backs += 1
            assert across[0] < 0
        if body.frames["head"][2, 2] < -0.5:
            assert body.is_behind_head("nose")
            assert body.is_behind_head("left_eye")
        eyes = body.points["left_eye"] - body.points["right_eye"]
        if body.frames["head"][2, 2] > 0.9 and body.frames["head"][1, 1] > 0.9:
            assert not body.is_behind_head("nose")
            assert eyes[0] > 0
    assert fronts > 30
    assert backs > 15


def test_the_far_ear_of_a_profile_is_behind_the_head():
    right_profile = postures.rotation(y=90)  # the viewer sees the right side
    body = postures.random_body(np.random.default_rng(0))
    body = postures.Body(body.points, {**body.frames, "head": right_profile})
    assert body.is_behind_head("left_ear")
    assert not body.is_behind_head("right_ear")
    assert not body.is_behind_head("nose")


def test_knees_and_elbows_bend_in_the_anatomical_direction():
    for seed in range(100):
        body = postures.random_body(np.random.default_rng(seed))
        for side in ("left", "right"):
            at = {name: body.points[f"{side}_{name}"] for name in ("knee", "ankle", "hip")}
            shin, thigh = at["ankle"] - at["knee"], at["knee"] - at["hip"]
            # A knee bends the shin backward only.
            assert shin @ body.frames[f"{side}_thigh"][:, 2] < 1e-9
            assert 0.2 < np.linalg.norm(thigh) < 0.3
            arm = body.points[f"{side}_wrist"] - body.points[f"{side}_elbow"]
            assert arm @ body.frames[f"{side}_arm"][:, 2] > -1e-9


def test_the_mean_pose_is_a_weak_baseline():
    """The quickstart's task must require learning: the mean pose scores below 30.

    This is relative to the exact middle of the joints; jittered centers lower it further.
    """
    joints = []
    for seed in range(300):
        body = postures.random_body(np.random.default_rng(seed))
        points = np.array([body.points[name][:2] for name in MPII.names])
        joints.append(points - (points.min(axis=0) + points.max(axis=0)) / 2)
    error = np.linalg.norm(joints - np.mean(joints, axis=0), axis=-1)
    head_size = 0.6 * postures.HEAD_LENGTH / 0.8
    counted = [joint for joint in range(16) if joint not in (6, 7)]
    assert 100 * np.mean(error[:, counted] <= 0.5 * head_size) < 30


def test_mpii_ground_truth_agrees_with_the_json(root):
    truth = scipy.io.loadmat(root / "annotations/mpii_gt_val.mat")
    people = read_json(root / "annotations/mpii_val.json")
    present = np.array([person["joints_vis"] for person in people])
    joints = np.array([person["joints"] for person in people])
    assert [str(name[0]) for name in truth["dataset_joints"][0]] == [
        *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"),
        *("neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
    ]
    np.testing.assert_array_equal(truth["jnt_missing"].T, 1 - present)
    np.testing.assert_array_equal(
        np.moveaxis(truth["pos_gt_src"], -1, 0), joints * present[..., None]
    )
    near, far = truth["headboxes_src"]
    # MPII's scales are 4.8 diagonals of the head box / 200, and its heads 0.8 diagonals long.
    scales = np.array([person["scale"] for person in people])
    np.testing.assert_allclose(np.linalg.norm(far - near, axis=0) * 4.8 / 200, scales, rtol=1e-3)
    middle = (joints[:, 8] + joints[:, 9]) / 2
    seen = present[:, [8, 9]].all(axis=1)
    np.testing.assert_allclose(((near + far) / 2).T[seen], middle[seen], atol=1e-3)


def test_readers_read_both_layouts_and_crops_contain_the_people(root):
    for read in (mpii.read, coco.read):
        split = read(Request(str(root), "train"))
        assert len(split) == len(annotations(root, "train"))
        for row in range(len(split)):
            example = split[row]
            assert pathlib.Path(example["image_path"]).is_file()
            size = geometry.fit_aspect(example["size"], (128, 128))
            matrix = geometry.crop_matrix(example["center"], size, 0.0, (128, 128))
            joints = geometry.transform(example["keypoints"], matrix)[example["visible"] > 0]
            assert ((joints >= 0) & (joints < 128)).all(axis=1).mean() > 0.7


def test_pycocotools_gives_the_ground_truth_an_ap_of_1(root):
    truth = CocoFile(root / "annotations/person_keypoints_val2017.json")
    results = [
        {key: entry[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        for entry in truth.anns.values()
    ]
    evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_write_if_missing_keeps_a_finished_dataset(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    drawing.write_if_missing(root, **ARGUMENTS)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert [path.name for path in root.parent.iterdir()] == [root.name]


def test_write_if_missing_fills_an_empty_folder(tmp_path):
    small = {"train_images": 1, "val_images": 1, "seed": 0, "image_size": (64, 64)}
    drawing.write_if_missing(tmp_path, **small, workers=1)
    assert (tmp_path / "synthetic.json").is_file()


def test_write_if_missing_refuses_other_parameters(root):
    with pytest.raises(ValueError, match=r"a different drawn dataset, with seed 5 \(expected 6\)"):
        drawing.write_if_missing(root, **{**ARGUMENTS, "seed": 6})
    with pytest.raises(ValueError, match=r"train_images 4 \(expected 9\); choose .* delete"):
        drawing.write_if_missing(root, **{**ARGUMENTS, "train_images": 9})


def test_write_if_missing_refuses_a_folder_with_other_files(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    message = r"contains files but no synthetic\.json; choose another folder"
    with pytest.raises(ValueError, match=message):
        drawing.write_if_missing(tmp_path, **ARGUMENTS)
    assert contents(tmp_path) == {"photo.jpg": b"mine"}


def test_write_never_overwrites(root, tmp_path):
    with pytest.raises(ValueError, match="is not empty; delete it or choose another"):
        drawing.write(root, **ARGUMENTS)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is not empty"):
        drawing.write(tmp_path / "file", **ARGUMENTS)


@pytest.mark.parametrize(
    "wrong", [{"train_images": 0}, {"val_images": 0}, {"seed": -1}, {"image_size": (32, 320)}]
)
def test_write_reports_invalid_parameters(tmp_path, wrong):
    message = "each split needs at least 1 image, each side at least 64 pixels"
    with pytest.raises(ValueError, match=message):
        drawing.write(tmp_path / "people", **{**ARGUMENTS, **wrong})
    assert not list(tmp_path.iterdir())


def test_a_failed_worker_leaves_no_files_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")  # every worker fails immediately
    with pytest.raises(OSError, match="exited with status 1; its own message is above"):
        drawing.write(tmp_path / "people", **ARGUMENTS, workers=2)
    assert not list(tmp_path.iterdir())


SCRIPT = """
from data_pipelines.synthetic import drawing
drawing.write({root!r}, train_images={images}, val_images=1, seed=0, workers=2)
"""


@pytest.mark.long
def test_a_script_from_standard_input_needs_no_main_guard(tmp_path):
    code = SCRIPT.format(root=str(tmp_path / "people"), images=4)
    subprocess.run([sys.executable, "-"], input=code, text=True, check=True)
    assert (tmp_path / "people/synthetic.json").is_file()


@pytest.mark.long
def test_a_killed_run_leaves_no_dataset_and_no_process(tmp_path):
    root = tmp_path / "people"
    code = SCRIPT.format(root=str(root), images=5000)
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: list(tmp_path.rglob("*.jpg")))
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(process.pid, signal.SIGKILL)
    assert not root.exists()
    wait_for(lambda: not any(pathlib.Path(f"/proc/{child}").exists() for child in children.split()))
    small = {**ARGUMENTS, "train_images": 1, "val_images": 1}
    drawing.write_if_missing(root, **small, workers=1)


TOGETHER = """
import logging, sys
from data_pipelines.synthetic import drawing
logging.basicConfig(level=logging.INFO, format="%(message)s")
print("begun", flush=True)
drawing.write_if_missing(sys.argv[1], train_images=40, val_images=2, seed=5, workers=2)
"""


def start(root):
    command = [sys.executable, "-c", TOGETHER, str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The dataset of TOGETHER, drawn by one process."""
    root = tmp_path_factory.mktemp("alone") / "people"
    drawing.write(root, train_images=40, val_images=2, seed=5)
    return contents(root)


def test_two_processes_that_want_one_dataset_draw_it_once(tmp_path, alone):
    root = tmp_path / "data" / "people"
    with start(root) as first, start(root) as second:
        texts = [process.communicate()[1] for process in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), texts
    assert sum("waiting for another process that draws people" in text for text in texts) == 1
    assert contents(root) == alone
    assert [path.name for path in root.parent.iterdir()] == ["people"]


@pytest.mark.long
@pytest.mark.parametrize("number", range(10))
def test_what_a_killed_process_left_is_drawn_anew_by_the_other(tmp_path, alone, number):
    root = tmp_path / "people"
    with start(root) as first, start(root) as second:
        first.stdout.readline()
        time.sleep(random.Random(number).uniform(0, 1.0))
        first.kill()
        assert second.wait(timeout=60) == 0, second.stderr.read()
    assert contents(root) == alone
    with start(root) as third:  # removes what the first may have left after the second was done
        assert third.wait(timeout=60) == 0
    assert [path.name for path in tmp_path.iterdir() if "-" not in path.name] == ["people"]


def test_a_process_that_fails_leaves_no_folder_and_nothing_of_the_users(tmp_path, monkeypatch):
    mine = tmp_path / "new" / "people.part-1"
    mine.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for root in (tmp_path / "a" / "b" / "people", mine.parent / "people"):
        with pytest.raises(OSError, match="exited with status 1"):
            drawing.write_if_missing(root, **ARGUMENTS, workers=2)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "people.part-1"]


@pytest.mark.parametrize("text", ["", "[]", "{", "5", "[" * 99_999, "\udcff"])
def test_a_damaged_file_of_parameters_is_named(tmp_path, text):
    file = tmp_path / "synthetic.json"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"synthetic\.json is damaged.*delete this one to draw"):
        drawing.write_if_missing(tmp_path, **ARGUMENTS)


def test_a_disk_without_locks_is_drawn_on_too(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    other = tmp_path / ".people.drawing-abc"  # another process may be at work there
    other.mkdir()
    small = {**ARGUMENTS, "train_images": 1, "val_images": 1}
    drawing.write_if_missing(tmp_path / "people", **small, workers=1)
    assert "has no file locks" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "people"]


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't draw people into .*file/people: .*File exists"):
        drawing.write_if_missing(tmp_path / "file" / "people", **ARGUMENTS)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
