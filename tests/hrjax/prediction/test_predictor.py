"""From images and boxes to joints in image pixels."""

import collections
import dataclasses
import json
import logging
import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import TINY

import hrjax
from data_pipelines import ground_truth
from data_pipelines.skeletons import COCO
from data_pipelines.splits import Split
from hrjax import detections, experiment, inference, recipes
from hrjax.calibration import Calibration, Curve
from hrjax.evaluation import average_precision, evaluate
from hrjax.prediction.predictor import Predictor
from hrjax.prediction.trained_network import Network
from hrjax.runtime import distributed

POINTS = ((40, 30), (100, 80), (135, 25))
BOXES = ((15, 10, 40, 50), (80, 50, 30, 60), (110, 0, 50, 50))


@pytest.fixture
def predictor(bright):
    return Predictor(bright.network, batch_size=4)


def test_bright_dots_are_predicted_in_image_pixels(predictor, dots):
    poses = predictor(dots(POINTS), BOXES)
    assert poses.keypoints.shape == (3, 17, 2)
    # A cell is four crop pixels, here up to five of the image.
    np.testing.assert_allclose(poses.keypoints[:, 0], POINTS, atol=3)
    np.testing.assert_array_equal(poses.boxes, BOXES)
    assert poses.track_ids is None
    columns = (value for name, value in vars(poses).items() if name != "track_ids")
    assert all(type(x) is np.ndarray for x in columns)
    np.testing.assert_allclose(poses.person_scores, poses.scores.mean(axis=1), rtol=1e-6)


def test_a_calibrated_network_gives_expected_similarities(predictor, bright, dots):
    half = Curve((0.0, 1.0), (0.0, 0.5))
    known = Calibration(joint=half, person=Curve((0.0, 0.5), (0.0, 1.0)), people=9, dataset="coco")
    network = dataclasses.replace(bright.network, calibration=known)
    boxes = [*BOXES, (0, 0, 0, 0)]  # the last one is empty
    image = dots(POINTS)
    own, poses = predictor(image, boxes), Predictor(network, batch_size=4)(image, boxes)
    np.testing.assert_array_equal(poses.keypoints, own.keypoints)
    np.testing.assert_allclose(poses.scores, 0.5 * own.scores, rtol=1e-6)
    # All 17 joints are the same point: the mean of their halves, times two.
    np.testing.assert_allclose(poses.person_scores, own.person_scores, rtol=1e-6)
    assert (poses.person_scores[3], poses.scores[3].max()) == (0, 0)


def test_pil_images_are_predicted_like_their_pixels(predictor, dots):
    pil = pytest.importorskip("PIL.Image")
    image = dots(POINTS)
    expected = predictor(image, BOXES)
    poses = predictor(pil.fromarray(image), BOXES)
    np.testing.assert_array_equal(poses.keypoints, expected.keypoints)
    gray, alone = predictor([pil.fromarray(image).convert("L"), image], [BOXES, BOXES])
    np.testing.assert_allclose(gray.keypoints, alone.keypoints)
    crops, _ = predictor.heatmaps(pil.fromarray(image), BOXES)
    assert len(crops) == 3


def test_arrays_of_other_frameworks_are_predicted_like_numpys(predictor, dots):
    image = dots(POINTS)
    expected = predictor(image, BOXES).keypoints
    poses = predictor(jnp.asarray(image), jnp.asarray(BOXES))
    np.testing.assert_array_equal(poses.keypoints, expected)
    both = predictor(jnp.stack([image, image]), [BOXES, BOXES])
    np.testing.assert_array_equal([poses.keypoints for poses in both], [expected, expected])


def test_without_boxes_the_whole_image_is_one_box(predictor, dots):
    poses = predictor(dots([(100, 80)]))
    np.testing.assert_array_equal(poses.boxes, [(0, 0, 160, 120)])
    np.testing.assert_allclose(poses.keypoints[0, 5], (100, 80), atol=8.5)


def test_several_images_give_a_list_in_the_same_order(predictor, dots, tmp_path):
    path = str(tmp_path / "dot.png")
    cv2.imwrite(path, dots([POINTS[1]]))
    found = predictor([dots([POINTS[0]]), path, dots([])], [[BOXES[0]], [BOXES[1]] * 2, []])
    assert [len(poses.keypoints) for poses in found] == [1, 2, 0]
    np.testing.assert_allclose(found[0].keypoints[0, 0], POINTS[0], atol=3)
    np.testing.assert_allclose(found[1].keypoints[:, 0], [POINTS[1]] * 2, atol=3)
    assert found[2].scores.shape == (0, 17)


def test_few_batch_sizes_are_compiled_for_any_number_of_people(predictor, bright, dots):
    del bright.traced[:]
    image = dots(POINTS)
    for count in (1, 2, 3, 4, 5, 6, 7, 11, 13):
        found = predictor(image, [BOXES[i % 3] for i in range(count)])
        expected = [POINTS[i % 3] for i in range(count)]
        np.testing.assert_allclose(found.keypoints[:, 0], expected, atol=3)
    assert sorted(bright.traced) == [2, 4, 8]  # 1, 2 and 4 people, each with its mirror image


def test_files_of_too_many_pixels_are_named(bright, dots, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), dots([(40, 30)]))
    predict = Predictor(bright.network, max_pixels=120 * 160 - 1)
    with pytest.raises(ValueError, match=r"a\.png: it has 160x120 pixels"):
        predict(tmp_path / "a.png")
    assert len(Predictor(bright.network)(tmp_path / "a.png").boxes) == 1


def test_files_are_rotated_upright_and_arrays_are_not(predictor, dots, tmp_path):
    pil = pytest.importorskip("PIL.Image")
    exif = pil.Exif()
    exif[0x0112] = 6  # to be rotated clockwise by 90 degrees
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
        ((200, 10, 20, 20), r"lies outside the image of 160x120 pixels \(width x height\)"),
        ((-30, 10, 30, 20), "lies outside"),
    ],
)
def test_unusable_boxes_give_nan_keypoints_and_a_warning(predictor, dots, caplog, box, reason):
    poses = predictor(dots(POINTS), [BOXES[0], box, BOXES[1]])
    assert np.isnan(poses.keypoints[1]).all()
    assert not poses.scores[1].any()
    assert poses.person_scores[1] == 0
    np.testing.assert_allclose(poses.keypoints[[0, 2], 0], POINTS[:2], atol=3)
    assert re.search(reason, caplog.text)


def test_a_box_partly_outside_the_image_is_used(predictor, dots):
    poses = predictor(dots([(5, 100)]), [(-20, 80, 50, 60)])
    np.testing.assert_allclose(poses.keypoints[0, 0], (5, 100), atol=3)


def test_heatmaps_that_are_not_finite_give_nan_keypoints_and_a_warning(
    bright, dots, caplog, monkeypatch
):
    predictor = Predictor(bright.network)
    step = predictor._step

    def broken(weights, batch):
        outputs = step(weights, batch)
        return {**outputs, "scores": outputs["scores"].at[0, 3].set(np.nan)}

    monkeypatch.setattr(predictor, "_step", broken)
    poses = predictor(dots(POINTS), BOXES[:2])
    assert np.isnan(poses.keypoints[0, 3]).all()
    assert poses.scores[0, 3] == 0
    assert np.isfinite(poses.keypoints[1]).all()
    assert np.isfinite(poses.person_scores).all()
    assert "1 of 34 heatmaps are not finite" in caplog.text


def test_heatmaps_are_returned_with_their_crops(predictor, dots):
    crops, maps = predictor.heatmaps(dots(POINTS), BOXES)
    assert crops.shape == (3, 64, 48, 3)
    assert maps.shape == (3, 16, 12, 17)
    place = np.unravel_index(maps[0, ..., 0].argmax(), (16, 12))
    assert crops[0][4 * place[0], 4 * place[1]].min() > 200


def test_a_network_specialized_for_gpus_predicts_the_same(bright, dots):
    model = hrjax.create("hrformer_small", **TINY["hrformer_small"])
    model.eval()
    graph, params, stats = hrjax.split(model)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: random.standard_normal(x.shape, "f4") * 0.2, params)
    network = dataclasses.replace(bright.network, graph=graph, params=params, stats=stats)
    _, expected = Predictor(network).heatmaps(dots(POINTS), BOXES)
    with hrjax.lowering_for("gpu"):
        predictor = Predictor(network)
        _, found = predictor.heatmaps(dots(POINTS), BOXES)
    assert predictor._specialized[0] != Predictor(network)._specialized[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std())


def test_a_list_of_one_image_gives_a_list(predictor, dots):
    (poses,) = predictor([dots(POINTS)], [BOXES])
    np.testing.assert_array_equal(poses.keypoints, predictor(dots(POINTS), BOXES).keypoints)
    assert predictor([]) == []


def test_bad_arguments_are_named(predictor, bright, dots):
    image = dots(POINTS)
    with pytest.raises(ValueError, match=r"batch_size must be a power of two; got 12"):
        Predictor(bright.network, batch_size=12)
    with pytest.raises(ValueError, match=r"must be \(n, 4\), as \(x, y, w, h\); got \(4,\)"):
        predictor(image, BOXES[0])
    with pytest.raises(ValueError, match=r"\(h, w, 3\) uint8 RGB; got \(120, 160\) uint8: repeat"):
        predictor(image[..., 0])
    with pytest.raises(ValueError, match=r"\(h, w, 3\) uint8 RGB; got \(120, 160, 3\) float64"):
        predictor([image / 255])
    with pytest.raises(ValueError, match="2 images but boxes for 1; give one array for each"):
        predictor([image, image], [BOXES])
    with pytest.raises(
        ValueError, match=r"40000x1 pixels \(width x height\).*at most 32766 pixels a"
    ):
        predictor(np.zeros((1, 40000, 3), np.uint8))
    with pytest.raises(ValueError, match=r"must be numbers \(n, 4\), .*inhomogeneous"):
        predictor(image, [(1, 2, 3, 4), (1, 2)])
    with pytest.raises(ValueError, match=r"can't read the image nothing\.jpg"):
        predictor("nothing.jpg")
    with pytest.raises(ValueError, match="unknown decode 'best'; choose one of"):
        Predictor(bright.network, decode="best")


def test_predicts_what_evaluation_predicts(tmp_path, dots):
    """A whole network with flip test and dark decoding, on a detector's boxes."""
    config = recipes.find("hrnet_tiny_64x32", "coco")
    config.eval.decode, config.eval.batch_size = "dark", 4
    _, graph, params, stats = experiment.create_model(config)
    settings = experiment.prediction_settings(config)
    network = Network(settings, COCO, graph, params, stats)
    poses = Predictor(network, batch_size=4)(dots(POINTS), BOXES)

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
    batches = experiment.eval_batches(config, split)
    expected = evaluate.predict(step, {"params": params, "stats": stats}, batches, split, mesh)
    np.testing.assert_allclose(poses.keypoints, expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(poses.scores, expected.joint_scores, atol=1e-6)


def test_options_override_the_recipe(bright, dots, caplog):
    caplog.set_level(logging.INFO)
    predictor = hrjax.Predictor(bright.network, flip_test=False, decode="quarter")
    assert (predictor.settings.flip_test, predictor.settings.decode) == (False, "quarter")
    assert bright.network.settings.flip_test
    del bright.traced[:]
    predictor(dots(POINTS), BOXES[:1])
    assert bright.traced == [1]


@pytest.mark.long
def test_real_people_are_predicted_as_well_as_published(shared):
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
    for image_id, poses in zip(boxes, predictor(paths, list(boxes.values())), strict=True):
        ids = np.full(len(poses.boxes), image_id)
        results.append((ids, poses.keypoints, poses.scores, poses.person_scores))
    people = detections.make(*map(np.concatenate, zip(*results, strict=True)))
    assert len(people) == 468
    known = ground_truth.read(file, COCO, category="person")
    # The last digits depend on OpenCV's resampling.
    assert average_precision.coco_ap(people, known)["AP"] == pytest.approx(0.6585, abs=0.005)
