"""AP against the recorded numbers of the official code and published scores."""

import contextlib
import gzip
import io
import itertools
import json
import sys

import numpy as np
import pytest

from data_pipelines.skeletons import COCO
from hrjax.evaluation import average_precision, oks


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
def annotation_file(tmp_path):
    """Two images with a large and a medium person each."""
    at = itertools.count(1)
    annotations = [
        person(next(at), image, at=at_pixel, area=area)
        for image in (7, 8)
        for at_pixel, area in ((50, 9500.0), (300, 5000.0))
    ]
    return write(tmp_path, annotations)


def write(folder, annotations):
    contents = {"info": {}, "images": [{"id": 7}, {"id": 8}], "annotations": annotations}
    contents["categories"] = [{"id": 1, "name": "person"}]
    path = folder / "person_keypoints.json"
    path.write_text(json.dumps(contents))
    return str(path)


def found(annotations, scores):
    keypoints = np.array([entry["keypoints"] for entry in annotations]).reshape(-1, 17, 3)[..., :2]
    images = np.array([entry["image_id"] for entry in annotations])
    return average_precision.coco_results(
        keypoints, np.ones((len(images), 17)), np.array(scores), images
    )


def annotations_of(path):
    with open(path) as file:
        return json.load(file)["annotations"]


def test_finding_everybody_is_ap_1(annotation_file):
    results = found(annotations_of(annotation_file), [0.9, 0.8, 0.7, 0.6])
    numbers = average_precision.coco_ap(results, annotation_file)
    names = "AP, AP .5, AP .75, AP (M), AP (L), AR, AR .5, AR .75, AR (M), AR (L)"
    assert ", ".join(numbers) == names
    assert list(numbers.values()) == pytest.approx([1.0] * 10)


def test_finding_one_of_four_is_a_quarter(annotation_file):
    results = found(annotations_of(annotation_file)[:1], [0.9])
    numbers = average_precision.coco_ap(results, annotation_file)
    # 101 recalls, of which 0, 0.01 … 0.25 are reached.
    assert numbers["AP"] == pytest.approx(26 / 101)
    assert numbers["AR"] == pytest.approx(0.25)
    assert numbers["AR (L)"] == pytest.approx(0.5)
    assert numbers["AR (M)"] == 0


def test_no_results_score_zero(annotation_file):
    assert set(average_precision.coco_ap([], annotation_file).values()) == {0.0}


def test_sizes_that_nobody_has_are_minus_one(tmp_path):
    path = write(tmp_path, [person(1, 7, at=50)])
    numbers = average_precision.coco_ap(found(annotations_of(path), [0.9]), path)
    assert numbers["AP"] == pytest.approx(1.0)
    assert numbers["AP (M)"] == numbers["AR (M)"] == -1


def test_ap_is_silent_and_leaves_the_results_alone(annotation_file):
    results = found(annotations_of(annotation_file), [0.9, 0.8, 0.7, 0.6])
    before = json.dumps(results)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        average_precision.coco_ap(results, annotation_file)
    assert printed.getvalue() == ""
    assert json.dumps(results) == before


def test_ap_refuses_images_of_another_split(annotation_file):
    results = found([person(1, 9, at=50)], [0.9])
    with pytest.raises(ValueError, match=r"1 images of the results are not in .*e\.g\. 9"):
        average_precision.coco_ap(results, annotation_file)


def test_ap_refuses_other_joint_counts(annotation_file):
    results = average_precision.coco_results(np.ones((1, 16, 2)), np.ones((1, 16)), np.ones(1), [7])
    with pytest.raises(ValueError, match=r"needs 51 keypoint numbers.*got 48"):
        average_precision.coco_ap(results, annotation_file)


def test_ap_refuses_annotations_without_joints(tmp_path):
    box = person(1, 7, at=50)
    del box["keypoints"], box["num_keypoints"]
    path = write(tmp_path, [box])
    with pytest.raises(ValueError, match="has annotations without keypoints, num_keypoints"):
        average_precision.coco_ap([], path)
    with pytest.raises(ValueError, match="has no annotations"):
        average_precision.coco_ap([], write(tmp_path, []))


def test_ap_refuses_the_annotation_id_that_pycocotools_misreads(tmp_path):
    path = write(tmp_path, [person(0, 7, at=50)])
    with pytest.raises(ValueError, match=r"id 0, .* number the annotations from 1"):
        average_precision.coco_ap([], path)


def test_results_are_plain_coco_entries():
    keypoints = np.array([[[1.5, 2.0], [3.0, 4.0]]], np.float32)
    results = average_precision.coco_results(
        keypoints, np.array([[0.5, 0.25]], np.float32), np.float32([0.75]), np.int64([139])
    )
    expected = {"image_id": 139, "category_id": 1, "score": 0.75}
    expected["keypoints"] = [1.5, 2.0, 0.5, 3.0, 4.0, 0.25]
    assert json.loads(json.dumps(results)) == [expected]


def test_results_name_the_shapes_they_got():
    with pytest.raises(ValueError, match=r"got \(1, 17, 2\), \(1, 16\), \(1,\), \(1,\)"):
        average_precision.coco_results(
            np.ones((1, 17, 2)), np.ones((1, 16)), np.ones(1), np.ones(1)
        )


def test_results_refuse_scores_that_are_not_numbers():
    with pytest.raises(ValueError, match="joint_scores hold 1 numbers that are NaN"):
        average_precision.coco_results(np.ones((1, 1, 2)), np.full((1, 1), np.nan), np.ones(1), [1])


@pytest.mark.parametrize(
    ("name", "results", "truth"),
    [
        (
            "coco",
            "coco_val2017_sample_results.json",
            "coco/annotations/person_keypoints_val2017.json",
        ),
        (
            "ochuman",
            "ochuman_sample_results.json",
            "ochuman/annotations/ochuman_coco_format_val_range_0.00_1.00.json",
        ),
    ],
)
def test_ap_of_samples_is_the_recorded_one(shared, name, results, truth):
    folder = shared / "reference/golden"
    expected = json.loads((folder / "metrics_ap.json").read_text())["values"][name]["pycocotools"]
    entries = json.loads((folder / "metrics" / results).read_text())
    numbers = average_precision.coco_ap(entries, str(shared / "samples" / truth))
    assert numbers == pytest.approx(expected, abs=1e-6)


def test_ap_of_a_real_network_is_the_recorded_one(shared, tmp_path):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_ap.json").read_text())["values"]
    truth = shared / "samples/coco/annotations/person_keypoints_val2017.json"
    contents = json.loads(truth.read_text())
    used = {785, 40083, 196141, 197388}
    contents["images"] = [entry for entry in contents["images"] if entry["id"] in used]
    contents["annotations"] = [
        entry for entry in contents["annotations"] if entry["image_id"] in used
    ]
    path = tmp_path / "four.json"
    path.write_text(json.dumps(contents))
    results = json.loads((folder / "metrics/coco_4images_real_results.json").read_text())
    numbers = average_precision.coco_ap(results, str(path))
    expected = recorded["coco_4_images_real_model_results"]["pycocotools"]
    assert numbers == pytest.approx(expected, abs=1e-6)


def test_ap_of_published_results_is_as_published(shared):
    folder = shared / "reference/published"
    results = json.loads(
        (folder / "person_keypoints_val2014_fakekeypoints100_results.json").read_text()
    )
    truth = folder / "person_keypoints_val2014_100_rebuilt.json"
    numbers = average_precision.coco_ap(results, str(truth))
    published = [0.372, 0.636, 0.348, 0.384, 0.386, 0.514, 0.734, 0.504, 0.508, 0.522]
    assert list(numbers.values()) == pytest.approx(published, abs=5e-4)


def test_the_whole_official_evaluation_is_reproduced(shared):
    folder = shared / "reference/golden"
    recorded = np.load(folder / "metrics_ap.npz")
    predictions, boxes = recorded["pipe_preds"], recorded["pipe_boxes"]
    images = recorded["pipe_image_id"]
    scores = oks.rescore(predictions[..., 2], boxes[:, 5])
    keypoints, areas = predictions[..., :2], boxes[:, 4]
    kept = oks.nms(keypoints, scores, areas, images, COCO.sigmas, 0.9)
    # The recorded ones have images in the order in which the detector's file names them.
    order = np.argsort(recorded["pipe_final_image_id"], kind="stable")
    np.testing.assert_array_equal(images[kept], recorded["pipe_final_image_id"][order])
    np.testing.assert_allclose(scores[kept], recorded["pipe_final_score"][order], atol=1e-6)
    np.testing.assert_array_equal(keypoints[kept, 0], recorded["pipe_final_first_xy"][order])
    assert len(kept) == 256
    results = average_precision.coco_results(
        predictions[kept, :, :2], predictions[kept, :, 2], scores[kept], images[kept]
    )
    truth = shared / "samples/coco/annotations/person_keypoints_val2017.json"
    numbers = average_precision.coco_ap(results, str(truth))
    expected = json.loads((folder / "metrics_ap.json").read_text())["values"]["coco_full_evaluate"]
    assert list(numbers.values()) == pytest.approx(list(expected["stats"].values()), abs=1e-6)


CROWDPOSE_SIGMAS = (*[0.079] * 2, *[0.072] * 2, *[0.062] * 2, *[0.107] * 2, *[0.087] * 2)
CROWDPOSE_SIGMAS += (*[0.089] * 2, *[0.079] * 2)


def test_crowdpose_ap_is_that_of_its_authors_code(golden, tmp_path):
    recorded = json.loads(gzip.decompress((golden / "crowdpose_ap.json.gz").read_bytes()))
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(recorded["truth"]))
    numbers = average_precision.crowdpose_ap(recorded["results"], str(path), CROWDPOSE_SIGMAS)
    assert list(numbers) == [
        *("AP", "AP .5", "AP .75", "AR", "AR .5", "AR .75", "AP (E)", "AP (M)", "AP (H)")
    ]
    expected = list(recorded["expected"].values())
    assert list(numbers.values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["sample", "val_real60", "xtcocoapi_example"])
def test_crowdpose_ap_of_real_people_is_that_of_its_authors_code(shared, name):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_ap.json").read_text())["values"][f"crowdpose_{name}"]
    truth = {
        "sample": shared / "samples/crowdpose/annotations/mmpose_crowdpose_test.json",
        "val_real60": folder / "metrics/crowdpose_val_real60_gt.json",
        "xtcocoapi_example": folder / "metrics/crowdpose_xtcocoapi_example_gt.json",
    }
    results = json.loads((folder / f"metrics/crowdpose_{name}_results.json").read_text())
    numbers = average_precision.crowdpose_ap(results, str(truth[name]), CROWDPOSE_SIGMAS)
    expected = list(recorded["crowdposetools"].values())
    assert list(numbers.values()) == pytest.approx(expected, abs=1e-6)


def test_crowdpose_ap_needs_the_crowding(annotation_file):
    with pytest.raises(ValueError, match="has images without a crowdIndex"):
        average_precision.crowdpose_ap([], annotation_file, COCO.sigmas)


def test_boxes_of_results_decide_the_size_of_those_who_match_nobody(shared):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_ap.json").read_text())["values"]["coco"]
    results = json.loads((folder / "metrics/coco_val2017_sample_results.json").read_text())
    results = [{**entry, "bbox": [0, 0, 30, 30]} for entry in results]
    truth = shared / "samples/coco/annotations/person_keypoints_val2017.json"
    expected = recorded["pycocotools_when_results_carry_a_30x30_bbox"]
    numbers = average_precision.coco_ap(results, str(truth))
    assert numbers == pytest.approx(expected, abs=1e-6)


def hand(annotation_id, image_id, **changes):
    """An annotation of three joints and no more than a custom file must have."""
    fields = {"id": annotation_id, "image_id": image_id, "category_id": 5, "bbox": [0, 0, 40, 50]}
    return {**fields, "keypoints": [10, 10, 2, 20, 20, 2, 0, 0, 0], **changes}


def test_ap_of_other_joints_needs_only_boxes_and_keypoints(tmp_path):
    path = write(tmp_path, [hand(1, 7), hand(2, 8)])
    points = np.array([[[10.0, 10], [20, 20], [99, 99]]] * 2)
    # In image 8 the first joint is one sigma off: area 0.53 * 40 * 50, OKS (exp(-1/2) + 1) / 2.
    points[1, 0, 0] += 2 * 0.1 * np.sqrt(0.53 * 40 * 50)
    results = average_precision.coco_results(points, np.ones((2, 3)), np.array([0.9, 0.8]), [7, 8])
    numbers = average_precision.oks_ap(results, path, (0.1, 0.1, 0.1))
    assert (1 + np.exp(-0.5)) / 2 == pytest.approx(0.803, abs=1e-3)
    # Found at the seven thresholds up to 0.8; above, one of two people.
    assert numbers["AR"] == pytest.approx((7 * 1 + 3 * 0.5) / 10)
    assert numbers["AP"] == pytest.approx((7 * 1 + 3 * 51 / 101) / 10)


def test_categories_with_other_joints_do_not_count(tmp_path):
    path = write(tmp_path, [hand(1, 7), person(2, 8, at=50)])
    results = average_precision.coco_results(
        np.array([[[10.0, 10], [20, 20], [0, 0]]]), np.ones((1, 3)), np.ones(1), [7]
    )
    assert average_precision.oks_ap(results, path, (0.1,) * 3)["AP"] == pytest.approx(1.0)


def test_ap_refuses_files_of_another_format(tmp_path):
    path = tmp_path / "mpii_val.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"mpii_val\.json is not in COCO's format"):
        average_precision.coco_ap([], str(path))
