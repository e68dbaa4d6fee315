"""Small files of every tool become datasets with the same people."""

import collections
import dataclasses
import json
import pathlib

import cv2
import label_files
import numpy as np
import pytest

from data_pipelines import datasets
from data_pipelines.labels import columns, grouping, importing

SIZES = np.array([[label_files.HEIGHT, label_files.WIDTH]], float)


options = label_files.options


def run(plan):
    return importing.run(plan, lambda images: images)


@pytest.mark.parametrize("name", label_files.TOOLS)
def test_files_of_every_tool_give_the_same_people(tmp_path, name):
    tool = label_files.TOOLS[name]
    labels = importing.read(tool.tool, tool.write(tmp_path / "labels"), options())
    sizes = np.repeat(SIZES, len(labels.images), axis=0)
    whole = importing.complete(labels, sizes, padding=0)
    (joint_set,) = whole.joint_sets
    assert joint_set.names == label_files.NAMES
    assert joint_set.limbs == (label_files.LIMBS if tool.limbs else ())
    assert joint_set.flip_pairs == (((1, 2),) if tool.pairs else ())
    known = label_files.expected(hidden=tool.hidden, boxes=tool.boxes)
    assert len(whole) == len(known)
    for row, (_, joints, box) in enumerate(known):
        table = np.concatenate([whole.keypoints[row], whole.visibility[row][:, None]], axis=1)
        np.testing.assert_allclose(table, joints, atol=1e-6)
        if box:
            np.testing.assert_allclose(whole.boxes[row], box, atol=1e-6)
        else:
            labeled = np.array([joint[:2] for joint in joints if joint[2]])
            tight = [*labeled.min(axis=0), *np.ptp(labeled, axis=0)]
            np.testing.assert_allclose(whole.boxes[row], tight, atol=1e-6)


@pytest.mark.parametrize("name", label_files.TOOLS)
def test_the_dataset_is_read_and_its_images_show_the_joints(tmp_path, name):
    plan = label_files.make_plan(tmp_path, name, shares=grouping.Shares(val=0.0), padding=0.3)
    imported = run(plan)
    assert imported.counts == {"train": len(label_files.PEOPLE)}
    people = datasets.read("custom", str(plan.output), "train")
    assert people.skeleton.names == label_files.NAMES
    assert people.skeleton.flip_pairs == ((1, 2),)
    dots = 0
    for row in range(len(people)):
        example = people[row]
        image = cv2.imread(example["image_path"], cv2.IMREAD_GRAYSCALE)
        for (x, y), visible in zip(example["keypoints"], example["visible"], strict=True):
            if visible:
                dots += 1
                assert image[round(float(y)), round(float(x))] > 150
    assert dots == 10


def test_coordinates_of_unlabeled_joints_are_zero(tmp_path):
    plan = label_files.make_plan(tmp_path, "cvat", shares=grouping.Shares(val=0.0))
    run(plan)
    document = json.loads((plan.output / "annotations" / "train.json").read_text())
    first = document["annotations"][0]
    assert first["keypoints"] == [10.5, 12.25, 2, 20.0, 13.0, 1, 0, 0, 0]
    assert first["num_keypoints"] == 2
    assert document["categories"][0]["skeleton"] == [[1, 2], [1, 3]]


def test_missing_boxes_are_guessed_and_said(tmp_path):
    plan = label_files.make_plan(
        tmp_path, "deeplabcut", shares=grouping.Shares(val=0.0), padding=0.5
    )
    imported = run(plan)
    document = json.loads((plan.output / "annotations" / "train.json").read_text())
    # Joints span (26, 20) to (34, 22): 4 pixels are added on every side.
    assert document["annotations"][2]["bbox"] == [22, 16, 16, 10]
    assert "guessed: 4 boxes, from the labeled joints and 0.5 of" in "\n".join(
        map(str, imported.notes)
    )


def test_a_lone_joint_gets_a_box_as_large_as_the_others(tmp_path):
    collector = columns.Collector()
    joints = collector.add_set(columns.JointSet("person", ("a", "b")))
    image = collector.add_image(columns.Image("a.png"))
    collector.add(image, joints, [(10, 10, 2), (30, 10, 2)])
    collector.add(image, joints, [(40, 40, 2), (0, 0, 0)])
    whole = importing.complete(collector.labels(), np.array([[100.0, 100.0]]), padding=0)
    assert whole.boxes.tolist() == [[10, 10, 20, 0], [30, 30, 20, 20]]


def test_boxes_are_clipped_and_points_are_not(tmp_path):
    collector = columns.Collector()
    joints = collector.add_set(columns.JointSet("person", ("a",)))
    image = collector.add_image(columns.Image("a.png"))
    collector.add(image, joints, [(-5, 10, 2)], (-10, 0, 30, 200))
    whole = importing.complete(collector.labels(), np.array([[100.0, 50.0]]), padding=0)
    assert whole.boxes.tolist() == [[0, 0, 20, 100]]
    assert whole.keypoints.tolist() == [[[-5, 10]]]


def test_images_are_copied_or_linked(tmp_path):
    copied = label_files.make_plan(tmp_path / "copied", "yolo")
    linked = label_files.make_plan(tmp_path / "linked", "yolo", link=True)
    run(copied)
    run(linked)
    assert not (copied.output / "images" / "a.png").is_symlink()
    assert (linked.output / "images" / "a.png").resolve() == (linked.images / "a.png").resolve()
    original = (linked.images / "a.png").read_bytes()
    assert (copied.output / "images" / "a.png").read_bytes() == original


def test_missing_images_are_listed_and_their_people_left_out(tmp_path):
    plan = label_files.make_plan(tmp_path, "yolo", shares=grouping.Shares(val=0.0))
    (plan.images / "b.png").unlink()
    imported = run(plan)
    assert imported.counts == {"train": 3}
    report = (plan.output / "import.txt").read_text()
    assert "lost: images that are not in the folder, or there several times: images/b" in report


def test_images_of_a_missing_folder_are_not_taken_from_another(tmp_path):
    # DeepLabCut calls the frames of every film img001.png.
    folder = tmp_path / "labels" / "labeled-data"
    for film in ("one", "two"):
        (folder / film).mkdir(parents=True)
        rows = f"scorer,me,me\nbodyparts,a,a\ncoords,x,y\nlabeled-data/{film}/a.png,5,6\n"
        (folder / film / "CollectedData_me.csv").write_text(rows)
    label_files.write_images(folder / "two", ("a.png",))
    source = tmp_path / "labels"
    imported = run(importing.Plan("deeplabcut", source, source, tmp_path / "out"))
    assert imported.counts == {"train": 1}
    assert any("labeled-data/one/a.png" in note.places for note in imported.notes)


def test_a_film_may_be_there_as_its_frames(tmp_path):
    plan = label_files.make_plan(tmp_path, "cvat_video", shares=grouping.Shares(val=0.0))
    (plan.images / "film.avi").unlink()
    for number, name in enumerate(label_files.IMAGES):
        frame = plan.images / "frames" / name
        frame.rename(plan.images / f"frame_{number:06d}.PNG")
    assert run(plan).counts == {"train": len(label_files.PEOPLE)}
    assert (plan.output / "images" / "frame_000001.PNG").is_file()


def test_a_renamed_film_is_taken_and_said(tmp_path):
    plan = label_files.make_plan(tmp_path, "cvat_video", shares=grouping.Shares(val=0.0))
    film = plan.images / "copy of film.avi"
    (plan.images / "film.avi").rename(film)
    imported = run(dataclasses.replace(plan, images=film))
    assert imported.counts == {"train": len(label_files.PEOPLE)}
    notes = "\n".join(map(str, imported.notes))
    assert "guessed: frames of the film film.avi, taken from copy of film.avi" in notes


def test_a_film_that_is_cut_off_leaves_nothing_behind(tmp_path):
    plan = label_files.make_plan(tmp_path, "sleap_film")
    label_files.write_film(plan.images / "film.avi", every=3)
    with pytest.raises(ValueError, match=r"film\.avi has no frame 10: 9 could be read"):
        run(plan)
    assert not plan.output.exists()
    assert list(tmp_path.glob(".*")) == []


def test_a_missing_film_is_named(tmp_path):
    plan = label_files.make_plan(tmp_path, "sleap_film")
    (plan.images / "film.avi").unlink()
    with pytest.raises(ValueError, match=r"frames of film\.avi, which is not in the folder"):
        run(plan)


def test_an_image_that_is_listed_twice_is_taken_once(tmp_path):
    plan = label_files.make_plan(tmp_path, "coco", shares=grouping.Shares(val=0.0))
    document = json.loads(plan.source.read_text())
    document["images"][1]["file_name"] = "a.png"
    plan.source.write_text(json.dumps(document))
    imported = run(plan)
    assert imported.counts == {"train": 3}
    what = "lost: images that are listed twice; the first is kept: a.png"
    assert what in map(str, imported.notes)


def test_without_any_image_the_error_says_which_were_wanted(tmp_path):
    plan = label_files.make_plan(tmp_path, "yolo")
    for path in plan.images.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"(?s)none of the 3 images .*: images/a, images/b"):
        run(plan)
    assert not plan.output.exists()
    assert list(tmp_path.glob(".*")) == []


def test_images_of_another_size_are_left_out(tmp_path):
    plan = label_files.make_plan(tmp_path, "cvat", shares=grouping.Shares(val=0.0))
    cv2.imwrite(str(plan.images / "a.png"), np.zeros((10, 10, 3), np.uint8))
    imported = run(plan)
    assert imported.counts == {"train": 2}
    what = "lost: images of another size than they were labeled in: a.png"
    assert what in map(str, imported.notes)


def test_a_full_folder_is_not_written_into(tmp_path):
    plan = label_files.make_plan(tmp_path, "yolo")
    plan.output.mkdir()
    (plan.output / "thesis.txt").write_text("do not lose me")
    with pytest.raises(ValueError, match="dataset is not empty; name a new folder"):
        run(plan)


def test_nothing_is_left_where_writing_fails(tmp_path):
    plan = label_files.make_plan(tmp_path, "sleap")
    labels = pathlib.Path(plan.source)
    import h5py

    with h5py.File(labels, "a") as file:
        video = file["video0/video"]
        video[1] = np.frombuffer(b"\x89PNG\r\n\x1a\n broken", np.int8)
    imported = run(plan)
    assert any("images that can't be read" in str(note) for note in imported.notes)


def test_categories_of_one_joint_set_become_one(tmp_path):
    plan = label_files.make_plan(tmp_path, "coco", shares=grouping.Shares(val=0.0))
    document = json.loads(plan.source.read_text())
    cat = {**document["categories"][1], "id": 7, "name": "cat"}
    document["categories"].append(cat)
    document["annotations"][0]["category_id"] = 7
    plan.source.write_text(json.dumps(document))
    imported = run(plan)
    assert imported.categories == {"cat+person": 4}
    assert "lost: categories with the same joints, which become one (2): cat, person" in map(
        str, imported.notes
    )


def test_categories_of_different_joints_stay_apart(tmp_path):
    plan = label_files.make_plan(tmp_path, "coco", shares=grouping.Shares(val=0.0))
    document = json.loads(plan.source.read_text())
    document["categories"].append({"id": 7, "name": "ball", "keypoints": ["top"]})
    document["annotations"][0] |= {"category_id": 7, "keypoints": [3, 4, 2]}
    plan.source.write_text(json.dumps(document))
    imported = run(plan)
    assert imported.joints == {"ball": 1, "person": 3}
    request = datasets.request.Request(str(plan.output), "train", category="ball")
    people = datasets.read_request("custom", request)
    assert people.skeleton.names == ("top",)
    assert people.columns["keypoints"].tolist() == [[[3, 4]]]


def test_chosen_joints_come_in_the_order_that_is_asked_for(tmp_path):
    plan = label_files.make_plan(
        tmp_path, "sleap", given=options(joints=("right_eye", "chin", "nose"))
    )
    labels = importing.read("sleap", plan.source, plan.given)
    assert labels.joint_sets[0].names == ("right_eye", "chin", "nose")
    assert labels.visibility[1].tolist() == [2, 0, 2]
    assert labels.keypoints[1].tolist() == [[44, 13], [0, 0], [50, 12]]
    assert labels.joint_sets[0].limbs == ((2, 0),)
    notes = "\n".join(map(str, labels.notes))
    assert "lost: joints that were not asked for: left_eye" in notes


def test_joints_are_renamed_where_no_name_is_known(tmp_path):
    plan = label_files.make_plan(tmp_path, "coco")
    labels = importing.read("coco", plan.source, options(joints=("x", "y", "z")))
    assert labels.joint_sets[0].names == ("x", "y", "z")
    with pytest.raises(ValueError, match="the 2 names that are given can't rename 3"):
        importing.read("coco", plan.source, options(joints=("x", "y")))


def test_an_unknown_tool_lists_the_choices(tmp_path):
    with pytest.raises(ValueError, match="unknown tool 'paint'; choose one of: yolo, cvat"):
        importing.read("paint", tmp_path, options())


def test_sideways_photographs_state_the_size_that_the_tool_showed(tmp_path):
    plan = label_files.make_plan(tmp_path, "yolo", shares=grouping.Shares(val=0.0))
    for path in plan.images.iterdir():
        path.unlink()
    upright = np.zeros((label_files.HEIGHT, label_files.WIDTH, 3), np.uint8)
    _write_turned(plan.images / "a.jpg", upright, 6)  # stored turned by a quarter
    _write_turned(plan.images / "b.jpg", upright, 3)  # stored upside down
    imported = run(plan)
    document = json.loads((plan.output / "annotations" / "train.json").read_text())
    sizes = {image["file_name"]: image["width"] for image in document["images"]}
    assert sizes == {"a.jpg": label_files.WIDTH, "b_upright.png": label_files.WIDTH}
    people = datasets.read("custom", str(plan.output), "train")
    assert len(people) == 3
    assert "guessed: photographs that are written upright, as EXIF says: b.jpg" in map(
        str, imported.notes
    )


def _write_turned(path, upright, orientation):
    turn = {6: cv2.ROTATE_90_COUNTERCLOCKWISE, 3: cv2.ROTATE_180}[orientation]
    _, data = cv2.imencode(".jpg", cv2.rotate(upright, turn))
    entry = (0x0112).to_bytes(2, "little") + b"\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0])
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    marker = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path.write_bytes(data.tobytes()[:2] + marker + data.tobytes()[2:])


def test_every_importer_has_a_small_file_or_a_test_of_its_own():
    written = {tool.tool for tool in label_files.TOOLS.values()}
    alike = collections.defaultdict(set)
    for name, read in importing.TOOLS.items():
        alike[read].add(name)
    lacking = [names for names in alike.values() if not names & written]
    assert lacking == [{"aic"}, {"pennaction"}, {"lsp"}, {"interhand"}, {"openpose"}, {"mediapipe"}]
