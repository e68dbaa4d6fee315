"""JSON files of boxes: which are people, and which image each belongs to."""

import json
import logging
import os
import pathlib

import numpy as np
import pytest

from hrjax.prediction.box_files import BoxFile, match_names
from hrjax.prediction.media import Frame

FOLDER = pathlib.Path("pictures")


def frame(name="a.jpg", image_id=1):
    return Frame(name, image_id, np.zeros((60, 80, 3), np.uint8))


@pytest.fixture
def save(tmp_path):
    """Writes a box file and returns its name."""

    def write(contents):
        path = tmp_path / "boxes.json"
        path.write_text(json.dumps(contents))
        return str(path)

    return write


def detection(**fields):
    return {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9, **fields}


def annotations(names, categories=((1, "person"),), **fields):
    """An annotation file with one box for each file name; the box of the i-th begins at x = i."""
    return {
        "images": [{"id": 10 + i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"image_id": 10 + i, "category_id": categories[0][0], "bbox": [i, 2, 3, 4], **fields}
            for i in range(len(names))
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
    }


def left_edges(file, names, **options):
    """The x of each box that each of the images gets."""
    find = BoxFile(file, threshold=0, folder=FOLDER, names=names, **options)
    return [find(frame(name, number))[0][:, 0].tolist() for number, name in enumerate(names)]


def test_boxes_without_names_belong_to_the_image_with_their_id(save):
    file = save([detection(), detection(image_id=2, bbox=[5, 6, 7, 8], score=0.5)])
    find = BoxFile(file, threshold=0.3, names=["a.jpg", "b.jpg", "c.jpg"])
    np.testing.assert_array_equal(find(frame())[0], [(1, 2, 3, 4)])
    boxes, scores = find(frame("b.jpg", 2))
    np.testing.assert_array_equal(boxes, [(5, 6, 7, 8)])
    np.testing.assert_array_equal(scores, [0.5])
    assert find.matched == 2
    assert find(frame("c.jpg", 3))[0].shape == (0, 4)


def test_low_scores_other_categories_and_crowds_are_skipped(save):
    others = [detection(score=0.2), detection(category_id=3), detection(iscrowd=1)]
    find = BoxFile(save([*others, detection()]), threshold=0.3)
    assert len(find(frame())[0]) == 1


def test_file_names_take_precedence_over_ids(save):
    file = save([detection(image_id=7, file_name="people/b.jpg")])
    find = BoxFile(file, threshold=0, names=["deep/b.jpg", "a.jpg"])
    assert len(find(frame("deep/b.jpg", 1))[0]) == 1
    assert len(find(frame("a.jpg", 7))[0]) == 0


def test_frames_of_a_video_are_found_by_their_number(save):
    rows = [detection(image_id=number, file_name="walk.mp4") for number in (0, 1, 1)]
    find = BoxFile(save(rows), threshold=0)
    assert [len(find(frame("walk.mp4", number))[0]) for number in range(3)] == [1, 2, 0]


def test_annotation_files_name_their_images(save):
    find = BoxFile(save(annotations(["b.jpg"])), threshold=0.5, names=["b.jpg"])
    boxes, scores = find(frame("b.jpg", 1))
    np.testing.assert_array_equal(boxes, [(0, 2, 3, 4)])
    np.testing.assert_array_equal(scores, [1])


def test_images_with_the_same_base_name_have_their_own_boxes(save):
    names = ["cam1/0001.jpg", "cam2/0001.jpg"]
    assert left_edges(save(annotations(names)), names) == [[0], [1]]
    assert left_edges(save(annotations(names)), names[::-1]) == [[1], [0]]
    windows = [name.replace("/", "\\") for name in names]
    assert left_edges(save(annotations(windows)), names) == [[0], [1]]
    absolute = [str(FOLDER.absolute() / name) for name in names]
    assert left_edges(save(annotations(absolute)), names) == [[0], [1]]


def test_the_path_of_a_single_folder_decides(save):
    file = save(annotations(["cam1/0001.jpg", "cam2/0001.jpg"]))
    find = BoxFile(file, threshold=0, folder=FOLDER / "cam2", names=["0001.jpg"])
    assert find(frame("0001.jpg"))[0][:, 0].tolist() == [1]


def test_the_base_name_decides_only_where_it_is_unique(save):
    assert left_edges(save(annotations(["old/a.jpg"])), ["new/a.jpg"]) == [[0]]
    # The box is of cam2, whatever other image has that base name.
    one = save(annotations(["cam2/a.jpg"]))
    assert left_edges(one, ["cam1/a.jpg", "cam2/a.jpg"]) == [[], [0]]
    two = save(annotations(["cam1/a.jpg", "cam2/a.jpg"]))
    assert left_edges(two, ["cam3/a.jpg"]) == [[]]


def test_a_name_that_fits_several_images_is_a_problem(save):
    names = ["cam1/a.jpg", "cam2/a.jpg", "b.jpg"]
    file = save(annotations(["a.jpg", "b.jpg"]))
    assert left_edges(file, names) == [[], [], [1]]
    (problem,) = BoxFile(file, threshold=0, folder=FOLDER, names=names).problems
    assert (
        problem == f"{file}: a.jpg could be any of cam1/a.jpg, cam2/a.jpg; its boxes are not used"
    )


def test_the_identical_name_fits_better_than_a_longer_one():
    names = ["cam1/a.jpg", "pictures/cam1/a.jpg"]
    matched, _ = match_names(["cam1/a.jpg"], names, folder=FOLDER)
    assert matched == {"cam1/a.jpg": "cam1/a.jpg"}


def test_the_only_category_of_an_annotation_file_is_used(save, caplog):
    caplog.set_level(logging.INFO)
    file = save(annotations(["a.jpg", "b.jpg"], [(3, "thing")]))
    assert left_edges(file, ["a.jpg", "b.jpg"]) == [[0], [1]]
    assert f"{file}: using the boxes of its only category, 3 (thing)" in caplog.text


def test_the_category_called_person_comes_first(save):
    contents = annotations(["a.jpg", "b.jpg"], [(3, "Person"), (1, "dog")])
    contents["annotations"][1]["category_id"] = 1
    assert left_edges(save(contents), ["a.jpg", "b.jpg"]) == [[0], []]


def test_detections_of_one_unknown_category_are_used(save):
    find = BoxFile(save([detection(category_id=3), detection(category_id=3)]), threshold=0)
    assert len(find(frame())[0]) == 2


def test_several_unknown_categories_are_named_with_what_to_give(save):
    contents = annotations(["a.jpg", "b.jpg"], [(3, "cat"), (4, "dog")])
    contents["annotations"][1]["category_id"] = 4
    file = save(contents)
    message = r"none is called 'person': 3 \(cat\), 4 \(dog\); say which one .*--category=3"
    with pytest.raises(ValueError, match=message):
        BoxFile(file, threshold=0)
    names = ["a.jpg", "b.jpg"]
    assert left_edges(file, names, category="dog") == [[], [1]]
    assert left_edges(file, names, category="3") == [[0], []]
    with pytest.raises(ValueError, match=r"no category 'cow'; choose one of: 3 \(cat\), 4 \(dog\)"):
        BoxFile(file, threshold=0, category="cow")
    with pytest.raises(ValueError, match="none is called 'person': 5, 7; say which"):
        BoxFile(save([detection(category_id=5), detection(category_id=7)]), threshold=0)


def test_annotations_without_boxes_are_skipped(save, caplog):
    contents = annotations(["a.jpg", "b.jpg"])
    del contents["annotations"][0]["bbox"]
    assert left_edges(save(contents), ["a.jpg", "b.jpg"]) == [[], [1]]
    assert "1 entries have no bbox; skipped" in caplog.text


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"a": 1}, "neither a list of detections .* nor a COCO annotation file"),
        ([{"image_id": 1}], "no entry has a bbox"),
        ([{"bbox": [1, 2, 3, 4]}], r"missing required field `image_id` - at `\$\[0\]`"),
        ([detection(bbox=[1, 2])], r"`array` of length 4, got 2 - at `\$\[0\]\.bbox`"),
        ([detection(file_name=5)], r"got `int` - at `\$\[0\]\.file_name`"),
        ([detection(image_id=[1])], r"got `array` - at `\$\[0\]\.image_id`"),
        ([detection(score="high")], r"got `str` - at `\$\[0\]\.score`"),
        ([detection(score=float("inf"))], "the score of entry 0 is inf"),
        ([5], r"got `int` - at `\$\[0\]`"),
        ({"annotations": 5}, r"got `int` - at `\$\.annotations`"),
        ({"annotations": [], "images": [{"id": 1, "file_name": 5}]}, r"\$\.images\[0\]\.file_name"),
        ({"annotations": [], "categories": [{"id": None}]}, r"\$\.categories\[0\]\.id"),
    ],
)
def test_files_with_other_contents_are_named(save, contents, message):
    with pytest.raises(ValueError, match=rf"boxes\.json.*{message}"):
        BoxFile(save(contents), threshold=0)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"there is no box file gone\.json"):
        BoxFile("gone.json", threshold=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308, -1e300])
def test_boxes_of_no_finite_numbers_are_named(save, value):
    file = save([detection(), detection(bbox=[1, 2, value, 4])])
    with pytest.raises(ValueError, match=r"boxes\.json: bbox of entry 1 \(image 1\) is .*finite"):
        BoxFile(file, threshold=0.3)


def test_images_of_one_id_are_named(save):
    content = annotations(["a.jpg", "b.jpg"])
    content["images"][1]["id"] = 10
    with pytest.raises(ValueError, match=r"the image id 10 is used twice, by a\.jpg and b\.jpg"):
        BoxFile(save(content), threshold=0.3)


def test_a_box_file_that_is_a_pipe_is_named(tmp_path):
    os.mkfifo(tmp_path / "boxes.json")
    with pytest.raises(ValueError, match=r"boxes\.json is a named pipe"):
        BoxFile(str(tmp_path / "boxes.json"), threshold=0.3)
