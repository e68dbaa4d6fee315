"""AP against the recorded numbers of the official code and published scores."""

import contextlib
import gzip
import io
import itertools
import json
import logging
import pathlib
import sys

import numpy as np
import pytest

from data_pipelines import ground_truth, skeletons
from data_pipelines.skeletons import COCO, CROWDPOSE
from hrjax import detections
from hrjax.evaluation import average_precision, nms, result_files


def person(annotation_id, image_id, at, **changes):
    """An annotation with 17 joints on a diagonal of 100 pixels from (`at`, `at`)."""
    line = np.linspace(at, at + 100, 17)
    joints = np.stack([line, line, np.full(17, 2.0)], axis=-1)
    fields = {"id": annotation_id, "image_id": image_id, "category_id": 1, "iscrowd": 0}
    fields |= {"bbox": [at, at, 100, 100], "area": 9500.0, "num_keypoints": 17}
    return {**fields, "keypoints": joints.ravel().tolist(), **changes}


@pytest.fixture(autouse=True, params=["pycocotools", "faster_coco_eval"])
def library(request, monkeypatch):
    """Everything here holds with both libraries; without the faster one pycocotools is used."""
    pytest.importorskip(request.param)
    if request.param == "pycocotools":
        monkeypatch.setitem(sys.modules, "faster_coco_eval", None)


@pytest.fixture
def four(tmp_path):
    """Two images with a large and a medium person each."""
    at = itertools.count(1)
    annotations = [
        person(next(at), image, at=at_pixel, area=area)
        for image in (7, 8)
        for at_pixel, area in ((50, 9500.0), (300, 5000.0))
    ]
    return truth_of(tmp_path, annotations)


def truth_of(folder, annotations, skeleton=COCO):
    """The truth of a file with these annotations of two images."""
    images = [
        {"id": image, "file_name": f"{image}.jpg", "width": 500, "height": 500} for image in (7, 8)
    ]
    contents = {"info": {}, "images": images, "annotations": annotations}
    contents["categories"] = [{"id": 1, "name": "person"}]
    path = folder / "person_keypoints.json"
    path.write_text(json.dumps(contents))
    return ground_truth.read(path, skeleton, category="person")


def people_of(known, scores):
    """The first annotated people as detections with these scores."""
    count = len(scores)
    images = known.image_ids[known.image_rows[:count]]
    keypoints = known.keypoints[:count]
    return detections.make(images, keypoints, np.ones(keypoints.shape[:2]), scores)


def test_detecting_all_people_is_ap_1(four):
    numbers = average_precision.coco_ap(people_of(four, [0.9, 0.8, 0.7, 0.6]), four)
    names = "AP, AP .5, AP .75, AP (M), AP (L), AR, AR .5, AR .75, AR (M), AR (L)"
    assert ", ".join(numbers) == names
    assert list(numbers.values()) == pytest.approx([1.0] * 10)


def test_detecting_one_of_four_is_a_quarter(four):
    numbers = average_precision.coco_ap(people_of(four, [0.9]), four)
    # 101 recalls, of which 0, 0.01 … 0.25 are reached.
    assert numbers["AP"] == pytest.approx(26 / 101)
    assert numbers["AR"] == pytest.approx(0.25)
    assert numbers["AR (L)"] == pytest.approx(0.5)
    assert numbers["AR (M)"] == 0


def test_no_detections_score_zero(four):
    assert set(average_precision.coco_ap(people_of(four, []), four).values()) == {0.0}


def test_sizes_without_people_are_minus_one(tmp_path):
    known = truth_of(tmp_path, [person(1, 7, at=50)])
    numbers = average_precision.coco_ap(people_of(known, [0.9]), known)
    assert numbers["AP"] == pytest.approx(1.0)
    assert numbers["AP (M)"] == numbers["AR (M)"] == -1


def test_people_that_do_not_count_leave_minus_one(tmp_path):
    known = truth_of(tmp_path, [person(1, 7, at=50, iscrowd=1)])
    assert set(average_precision.coco_ap(people_of(known, [0.9]), known).values()) == {-1.0}


def test_ap_is_silent(four, caplog):
    caplog.set_level(logging.DEBUG)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        average_precision.coco_ap(people_of(four, [0.9, 0.8, 0.7, 0.6]), four)
    assert printed.getvalue() == ""
    assert [entry for entry in caplog.records if entry.levelno >= logging.INFO] == []


def test_ap_refuses_images_of_another_split(four):
    people = detections.make([9], four.keypoints[:1], np.ones((1, 17)), [0.9])
    with pytest.raises(ValueError, match=r"1 images of the detections are not in .*e\.g\. 9"):
        average_precision.coco_ap(people, four)


def test_ap_refuses_other_joint_counts(four):
    people = detections.make([7], np.ones((1, 16, 2)), np.ones((1, 16)), [0.9])
    with pytest.raises(ValueError, match=r"the detections have 16 joints and .* have 17"):
        average_precision.coco_ap(people, four)


def test_ap_needs_annotations(tmp_path, four):
    people = people_of(four, [0.9])
    with pytest.raises(ValueError, match="has no annotations to compare detections with"):
        average_precision.coco_ap(people, truth_of(tmp_path, []))


@pytest.mark.parametrize("ids", [(0, 1), (-2, -1), (1, 1), (None, None), (10**20, 3)])
def test_annotation_ids_do_not_matter(tmp_path, ids):
    places = enumerate(ids)
    known = truth_of(tmp_path, [person(number, 7, at=50 + 200 * at) for at, number in places])
    assert average_precision.coco_ap(people_of(known, [0.9, 0.8]), known)["AP"] == pytest.approx(1)


def test_more_people_than_the_limit_are_not_compared(tmp_path):
    known = truth_of(tmp_path, [person(1 + row, 7, at=200 * row) for row in range(25)])
    people = people_of(known, np.linspace(0.9, 0.1, 25))
    assert average_precision.coco_ap(people, known)["AR"] == pytest.approx(20 / 25)
    assert average_precision.coco_ap(people, known, max_people=24)["AR"] == pytest.approx(24 / 25)
    for enough in (0, 25, 100):
        numbers = average_precision.coco_ap(people, known, max_people=enough)
        assert numbers["AP"] == pytest.approx(1)
        assert numbers["AR (L)"] == pytest.approx(1)


SAMPLES = {
    "coco": ("coco_val2017_sample_results.json", "coco/annotations/person_keypoints_val2017.json"),
    "ochuman": (
        *("ochuman_sample_results.json",),
        "ochuman/annotations/ochuman_coco_format_val_range_0.00_1.00.json",
    ),
}


def read_sample(shared, name):
    """The detections and the truth of one of SAMPLES."""
    results, annotations = SAMPLES[name]
    people = result_files.read(shared / "reference/golden/metrics" / results).detections()
    return people, ground_truth.read(shared / "samples" / annotations, COCO, category="person")


@pytest.mark.parametrize("name", SAMPLES)
def test_ap_of_samples_is_the_recorded_one(shared, name):
    recorded = json.loads((shared / "reference/golden/metrics_ap.json").read_text())["values"]
    numbers = average_precision.coco_ap(*read_sample(shared, name))
    assert numbers == recorded[name]["pycocotools"]  # to the last digit


def test_ap_of_a_real_network_is_the_recorded_one(shared, tmp_path):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_ap.json").read_text())["values"]
    contents = json.loads((shared / "samples" / SAMPLES["coco"][1]).read_text())
    used = {785, 40083, 196141, 197388}
    contents["images"] = [entry for entry in contents["images"] if entry["id"] in used]
    contents["annotations"] = [
        entry for entry in contents["annotations"] if entry["image_id"] in used
    ]
    path = tmp_path / "four.json"
    path.write_text(json.dumps(contents))
    people = result_files.read(folder / "metrics/coco_4images_real_results.json").detections()
    numbers = average_precision.coco_ap(people, ground_truth.read(path, COCO, category="person"))
    assert numbers == recorded["coco_4_images_real_model_results"]["pycocotools"]


def test_ap_of_published_results_is_as_published(shared):
    folder = shared / "reference/published"
    results = folder / "person_keypoints_val2014_fakekeypoints100_results.json"
    annotations = folder / "person_keypoints_val2014_100_rebuilt.json"
    known = ground_truth.read(annotations, COCO, category="person")
    numbers = average_precision.coco_ap(result_files.read(results).detections(), known)
    published = [0.372, 0.636, 0.348, 0.384, 0.386, 0.514, 0.734, 0.504, 0.508, 0.522]
    assert list(numbers.values()) == pytest.approx(published, abs=5e-4)


def test_the_whole_official_evaluation_is_reproduced(shared):
    folder = shared / "reference/golden"
    recorded = np.load(folder / "metrics_ap.npz")
    predictions, boxes = recorded["pipe_preds"], recorded["pipe_boxes"]
    images = recorded["pipe_image_id"]
    scores = detections.rescore(predictions[..., 2], boxes[:, 5])
    keypoints, areas = predictions[..., :2], boxes[:, 4]
    kept = nms.hard_nms(keypoints, scores, areas, images, COCO.sigmas, 0.9)
    # The recorded ones have images in the order in which the detector's file names them.
    order = np.argsort(recorded["pipe_final_image_id"], kind="stable")
    np.testing.assert_array_equal(images[kept], recorded["pipe_final_image_id"][order])
    np.testing.assert_allclose(scores[kept], recorded["pipe_final_score"][order], atol=1e-6)
    np.testing.assert_array_equal(keypoints[kept, 0], recorded["pipe_final_first_xy"][order])
    assert len(kept) == 256
    people = detections.make(
        images[kept], predictions[kept, :, :2], predictions[kept, :, 2], scores[kept]
    )
    known = ground_truth.read(shared / "samples" / SAMPLES["coco"][1], COCO, category="person")
    numbers = average_precision.coco_ap(people, known)
    expected = json.loads((folder / "metrics_ap.json").read_text())["values"]["coco_full_evaluate"]
    assert list(numbers.values()) == pytest.approx(list(expected["stats"].values()), abs=1e-6)


def read_crowdpose(path):
    """The truth of a file as CrowdPose's reader has it."""
    options = {"category": "person", "trust_counts": True, "trust_areas": False}
    return ground_truth.read(pathlib.Path(path), CROWDPOSE, **options)


def test_crowdpose_ap_is_that_of_its_authors_code(golden, tmp_path):
    recorded = json.loads(gzip.decompress((golden / "crowdpose_ap.json.gz").read_bytes()))
    for name in ("truth", "results"):
        (tmp_path / f"{name}.json").write_text(json.dumps(recorded[name]))
    people = result_files.read(tmp_path / "results.json").detections()
    numbers = average_precision.crowdpose_ap(people, read_crowdpose(tmp_path / "truth.json"))
    assert list(numbers) == [
        *("AP", "AP .5", "AP .75", "AR", "AR .5", "AR .75", "AP (E)", "AP (M)", "AP (H)")
    ]
    expected = list(recorded["expected"].values())
    assert list(numbers.values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["sample", "val_real60", "xtcocoapi_example"])
def test_crowdpose_ap_of_real_people_is_that_of_its_authors_code(shared, name):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_ap.json").read_text())["values"][f"crowdpose_{name}"]
    annotations = {
        "sample": shared / "samples/crowdpose/annotations/mmpose_crowdpose_test.json",
        "val_real60": folder / "metrics/crowdpose_val_real60_gt.json",
        "xtcocoapi_example": folder / "metrics/crowdpose_xtcocoapi_example_gt.json",
    }
    results = folder / f"metrics/crowdpose_{name}_results.json"
    people = result_files.read(results).detections()
    numbers = average_precision.crowdpose_ap(people, read_crowdpose(annotations[name]))
    expected = list(recorded["crowdposetools"].values())
    assert list(numbers.values()) == pytest.approx(expected, abs=1e-6)


def test_crowdpose_ap_needs_the_crowding(four):
    with pytest.raises(ValueError, match="has images without a crowdIndex"):
        average_precision.crowdpose_ap(people_of(four, []), four)


def test_boxes_of_results_decide_the_size_of_unmatched_detections(shared, tmp_path):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_ap.json").read_text())["values"]["coco"]
    results = json.loads((folder / "metrics" / SAMPLES["coco"][0]).read_text())
    results = [{**entry, "bbox": [0, 0, 30, 30]} for entry in results]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    _, known = read_sample(shared, "coco")
    numbers = average_precision.coco_ap(result_files.read(path).detections(), known)
    assert numbers == recorded["pycocotools_when_results_carry_a_30x30_bbox"]


HAND = skeletons.Skeleton(("wrist", "thumb", "tip"), (), ((0, 1), (1, 2)), (0.1,) * 3, ())


def hand(annotation_id, image_id, **changes):
    """An annotation of three joints and no more than a custom file must have."""
    fields = {"id": annotation_id, "image_id": image_id, "category_id": 1, "bbox": [0, 0, 40, 50]}
    return {**fields, "keypoints": [10, 10, 2, 20, 20, 2, 0, 0, 0], **changes}


def test_ap_of_other_joints_needs_only_boxes_and_keypoints(tmp_path):
    known = truth_of(tmp_path, [hand(1, 7), hand(2, 8)], HAND)
    points = np.array([[[10.0, 10], [20, 20], [99, 99]]] * 2)
    # In image 8 the first joint is one sigma off: area 40 * 50, OKS (exp(-1/2) + 1) / 2.
    points[1, 0, 0] += 2 * 0.1 * np.sqrt(40 * 50)
    people = detections.make([7, 8], points, np.ones((2, 3)), np.array([0.9, 0.8]))
    numbers = average_precision.coco_ap(people, known)
    assert (1 + np.exp(-0.5)) / 2 == pytest.approx(0.803, abs=1e-3)
    # Detected at the seven thresholds up to 0.8; above, one of two people.
    assert numbers["AR"] == pytest.approx((7 * 1 + 3 * 0.5) / 10)
    assert numbers["AP"] == pytest.approx((7 * 1 + 3 * 51 / 101) / 10)


def test_other_categories_do_not_count(tmp_path):
    other = hand(2, 8, category_id=5)
    known = truth_of(tmp_path, [hand(1, 7), other], HAND)
    points = np.array([[[10.0, 10], [20, 20], [0, 0]]])
    people = detections.make([7], points, np.ones((1, 3)), np.ones(1))
    assert average_precision.coco_ap(people, known)["AP"] == pytest.approx(1.0)


def test_ap_of_species_is_the_mean_over_them(tmp_path):
    # Three antelopes are found and the only bat is missed: 3 of 4 animals, but half of the species.
    animals = [person(n, 7, at=100 * n, category_id=5) for n in (1, 2, 3)]
    animals.append(person(4, 8, at=50, category_id=-3))
    images = [
        {"id": image, "file_name": f"{image}.jpg", "width": 500, "height": 500} for image in (7, 8)
    ]
    categories = [{"id": 5, "name": "antelope"}, {"id": -3, "name": "bat"}]
    lists = {"images": images, "annotations": animals, "categories": categories}
    path = tmp_path / "animals.json"
    path.write_text(json.dumps(lists))
    truth = ground_truth.read(path, COCO, category=ground_truth.EVERY)
    keypoints = truth.keypoints.copy()
    keypoints[3] += 1000
    ids = truth.image_ids[truth.image_rows]
    people = detections.make(ids, keypoints, np.ones((4, 17)), np.array([0.9, 0.8, 0.7, 0.6]))
    assert average_precision.coco_ap(people, truth)["AP"] == pytest.approx(0.5)
    entries = result_files.coco_entries(people, truth.categories_of_images()[[0, 0, 0, 1]])
    assert [entry["category_id"] for entry in entries] == [5, 5, 5, -3]
    # The same file for pycocotools, with the categories as they stand there.
    from pycocotools.coco import COCO as File
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        known = File(str(path))
        judge = COCOeval(known, known.loadRes(entries), "keypoints")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(0.5)
