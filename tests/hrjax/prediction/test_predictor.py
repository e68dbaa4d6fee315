"""From images and boxes to joints in image pixels."""

import collections
import json
import logging

import cv2
import jax
import numpy as np
import pytest

import hrjax
from data_pipelines.skeletons import COCO
from data_pipelines.splits import Split
from hrjax import experiment, inference, recipes
from hrjax.evaluation import average_precision, evaluate
from hrjax.prediction.network import Network
from hrjax.prediction.predictor import Predictor
from hrjax.runtime import distributed

POINTS = ((40, 30), (100, 80), (135, 25))
BOXES = ((15, 10, 40, 50), (80, 50, 30, 60), (110, 0, 50, 50))


@pytest.fixture
def predictor(bright):
    return Predictor(bright.network, batch_size=4)


def test_finds_a_bright_dot_in_image_pixels(predictor, dots):
    people = predictor(dots(POINTS), BOXES)
    assert people.keypoints.shape == (3, 17, 2)
    # A cell is four crop pixels, here up to five of the image.
    np.testing.assert_allclose(people.keypoints[:, 0], POINTS, atol=3)
    np.testing.assert_array_equal(people.boxes, BOXES)
    assert all(type(x) is np.ndarray for x in vars(people).values())
    np.testing.assert_allclose(people.person_scores, people.scores.mean(axis=1), rtol=1e-6)


def test_the_whole_image_is_the_box_where_none_is_given(predictor, dots):
    people = predictor(dots([(100, 80)]))
    np.testing.assert_array_equal(people.boxes, [(0, 0, 160, 120)])
    np.testing.assert_allclose(people.keypoints[0, 5], (100, 80), atol=8.5)


def test_several_images_give_a_list_in_their_order(predictor, dots, tmp_path):
    path = str(tmp_path / "dot.png")
    cv2.imwrite(path, dots([POINTS[1]]))
    found = predictor([dots([POINTS[0]]), path, dots([])], [[BOXES[0]], [BOXES[1]] * 2, []])
    assert [len(people.keypoints) for people in found] == [1, 2, 0]
    np.testing.assert_allclose(found[0].keypoints[0, 0], POINTS[0], atol=3)
    np.testing.assert_allclose(found[1].keypoints[:, 0], [POINTS[1]] * 2, atol=3)
    assert found[2].scores.shape == (0, 17)


def test_any_number_of_people_reuses_few_batch_sizes(predictor, bright, dots):
    del bright.traced[:]
    image = dots(POINTS)
    for count in (1, 2, 3, 4, 5, 6, 7, 11, 13):
        found = predictor(image, [BOXES[i % 3] for i in range(count)])
        expected = [POINTS[i % 3] for i in range(count)]
        np.testing.assert_allclose(found.keypoints[:, 0], expected, atol=3)
    assert sorted(bright.traced) == [2, 4, 8]  # 1, 2 and 4 people, each with its mirror image


def test_a_photograph_is_turned_upright_and_an_array_is_not(predictor, dots, tmp_path):
    pil = pytest.importorskip("PIL.Image")
    exif = pil.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn right by 90 degrees
    image = dots([(40, 30)])
    path = tmp_path / "photo.jpg"
    pil.fromarray(image).save(path, exif=exif)
    upright = predictor(path)
    assert tuple(upright.boxes[0]) == (0, 0, 120, 160)
    # Of the whole image a cell is 17 pixels wide.
    np.testing.assert_allclose(upright.keypoints[0, 0], (120 - 30, 40), atol=8.5)
    np.testing.assert_allclose(predictor(image).keypoints[0, 0], (40, 30), atol=8.5)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 10, 0, 20), "is empty"),
        ((10, 10, 20, -1), "is empty"),
        ((np.nan, 10, 20, 20), "is not finite"),
        ((200, 10, 20, 20), "lies outside the image of 120x160 pixels"),
        ((-30, 10, 30, 20), "lies outside"),
    ],
)
def test_nobody_is_found_where_there_is_nothing_to_see(predictor, dots, caplog, box, reason):
    people = predictor(dots(POINTS), [BOXES[0], box, BOXES[1]])
    assert np.isnan(people.keypoints[1]).all()
    assert not people.scores[1].any()
    assert people.person_scores[1] == 0
    np.testing.assert_allclose(people.keypoints[[0, 2], 0], POINTS[:2], atol=3)
    assert reason in caplog.text


def test_a_box_that_reaches_outside_is_used(predictor, dots):
    people = predictor(dots([(5, 100)]), [(-20, 80, 50, 60)])
    np.testing.assert_allclose(people.keypoints[0, 0], (5, 100), atol=3)


def test_heatmaps_that_are_not_finite_are_nowhere_and_said(bright, dots, caplog, monkeypatch):
    predictor = Predictor(bright.network)
    step = predictor._step

    def broken(weights, batch):
        found = step(weights, batch)
        return {**found, "scores": found["scores"].at[0, 3].set(np.nan)}

    monkeypatch.setattr(predictor, "_step", broken)
    people = predictor(dots(POINTS), BOXES[:2])
    assert np.isnan(people.keypoints[0, 3]).all()
    assert people.scores[0, 3] == 0
    assert np.isfinite(people.keypoints[1]).all()
    assert np.isfinite(people.person_scores).all()
    assert "1 of 34 heatmaps are not finite" in caplog.text


def test_heatmaps_come_with_their_crops(predictor, dots):
    crops, maps = predictor.heatmaps(dots(POINTS), BOXES)
    assert crops.shape == (3, 64, 48, 3)
    assert maps.shape == (3, 16, 12, 17)
    place = np.unravel_index(maps[0, ..., 0].argmax(), (16, 12))
    assert crops[0][4 * place[0], 4 * place[1]].min() > 200


def test_one_image_is_a_list_of_one(predictor, dots):
    (people,) = predictor([dots(POINTS)], [BOXES])
    np.testing.assert_array_equal(people.keypoints, predictor(dots(POINTS), BOXES).keypoints)
    assert predictor([]) == []


def test_bad_arguments_are_named(predictor, bright, dots):
    image = dots(POINTS)
    with pytest.raises(ValueError, match=r"batch_size must be a power of two; got 12"):
        Predictor(bright.network, batch_size=12)
    with pytest.raises(ValueError, match=r"must be \(n, 4\), as \(x, y, w, h\); got \(4,\)"):
        predictor(image, BOXES[0])
    with pytest.raises(ValueError, match=r"\(h, w, 3\) uint8 RGB; got \(120, 160\) uint8"):
        predictor(image[..., 0])
    with pytest.raises(ValueError, match=r"\(h, w, 3\) uint8 RGB; got \(120, 160, 3\) float64"):
        predictor([image / 255])
    with pytest.raises(ValueError, match="2 images and the boxes of 1; give one per image"):
        predictor([image, image], [BOXES])
    with pytest.raises(ValueError, match="at most 32766 a side: make it smaller"):
        predictor(np.zeros((1, 40000, 3), np.uint8))
    with pytest.raises(ValueError, match=r"can't read the image nothing\.jpg"):
        predictor("nothing.jpg")
    with pytest.raises(ValueError, match="unknown decode 'best'; choose one of"):
        Predictor(bright.network, decode="best")


def test_predicts_what_evaluation_predicts(tmp_path, dots):
    """A whole network, flip test and dark decoding, through a detector's boxes."""
    config = recipes.find("hrnet_tiny_64x32", "coco")
    config.eval.decode, config.eval.batch_size = "dark", 4
    _, graph, params, stats = experiment.create_model(config)
    settings = experiment.prediction_settings(config)
    network = Network(settings, COCO, graph, params, stats)
    people = Predictor(network, batch_size=4)(dots(POINTS), BOXES)

    path = tmp_path / "dots.png"
    cv2.imwrite(str(path), dots(POINTS))
    boxes = np.array(BOXES, np.float32)
    columns = {
        "image_path": np.array([str(path)] * 3),
        "center": boxes[:, :2] + boxes[:, 2:] / 2,
        "size": boxes[:, :1:-1] * 1.25,
        "keypoints": np.zeros((3, 17, 2), np.float32),
        "visible": np.zeros((3, 17), np.float32),
    }
    mesh = distributed.make_mesh(jax.devices()[:1])
    step = inference.make_predict_step(graph, mesh, settings, COCO)
    split = Split("val", COCO, "", columns, {})
    expected = evaluate.predict(step, {"params": params, "stats": stats}, config, split, mesh)
    np.testing.assert_allclose(people.keypoints, expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(people.scores, expected.scores, atol=1e-6)


def test_options_replace_the_recipes(bright, dots, caplog):
    caplog.set_level(logging.INFO)
    predictor = hrjax.Predictor(bright.network, flip_test=False, decode="quarter")
    assert (predictor.settings.flip_test, predictor.settings.decode) == (False, "quarter")
    assert bright.network.settings.flip_test
    del bright.traced[:]
    predictor(dots(POINTS), BOXES[:1])
    assert bright.traced == [1]


@pytest.mark.long
def test_real_people_are_found_as_well_as_published(shared):
    """PP-TinyPose's weights on 468 people of 155 photographs: AP 0.6585 without flip test."""
    root = shared / "samples" / "coco_people"
    file = root / "annotations" / "person_keypoints_val2017.json"
    contents = json.loads(file.read_text())
    names = {image["id"]: image["file_name"] for image in contents["images"]}
    boxes = collections.defaultdict(list)
    for person in contents["annotations"]:
        if person["num_keypoints"] and not person["iscrowd"]:
            boxes[person["image_id"]].append(person["bbox"])
    predictor = Predictor(
        shared / "weights" / "tinypose_256x192.npz",
        model="wider_naive_litehrnet_18",
        flip_test=False,
        decode="dark",
    )
    paths = [root / "val2017" / names[image_id] for image_id in boxes]
    results = []
    for image_id, people in zip(boxes, predictor(paths, list(boxes.values())), strict=True):
        ids = np.full(len(people.boxes), image_id)
        arrays = people.keypoints, people.scores, people.person_scores
        results += average_precision.coco_results(*arrays, ids)
    assert len(results) == 468
    # The last digits depend on OpenCV's resampling.
    assert average_precision.coco_ap(results, str(file))["AP"] == pytest.approx(0.6585, abs=0.005)
