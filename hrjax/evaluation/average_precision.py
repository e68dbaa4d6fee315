"""Average precision of people in COCO's format: COCO's, CrowdPose's and any joint set's."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data_pipelines import skeletons
from data_pipelines.truth import AREA_OF_BOX
from hrjax.evaluation.oks import check_finite

COCO_NUMBERS = (
    *("AP", "AP .5", "AP .75", "AP (M)", "AP (L)"),
    *("AR", "AR .5", "AR .75", "AR (M)", "AR (L)"),
)
# CrowdPose has no sizes; these are the places of its first six among COCO's ten.
CROWDPOSE_NUMBERS = {"AP": 0, "AP .5": 1, "AP .75": 2, "AR": 5, "AR .5": 6, "AR .75": 7}
# From the first up to the second. The paper says 0.1 and 0.8; its code, and so every published
# number, has 0.2 and 0.8.
CROWDING = {"AP (E)": (-np.inf, 0.2), "AP (M)": (0.2, 0.8), "AP (H)": (0.8, np.inf)}
PERSON = 1


def coco_results(
    keypoints: np.ndarray,
    joint_scores: np.ndarray,
    person_scores: np.ndarray,
    image_ids: np.ndarray,
) -> list[dict]:
    """People as entries of a COCO result file; a joint is x, y and its score."""
    shapes = tuple(map(np.shape, (keypoints, joint_scores, person_scores, image_ids)))
    n, k = shapes[1] if len(shapes[1]) == 2 else (-1, -1)
    if shapes != ((n, k, 2), (n, k), (n,), (n,)):
        raise ValueError(
            "keypoints, joint_scores, person_scores and image_ids must be (n, k, 2), (n, k), (n,) "
            f"and (n,); got {', '.join(map(str, shapes))}"
        )
    check_finite(keypoints, "keypoints")
    check_finite(joint_scores, "joint_scores")
    check_finite(person_scores, "person_scores")
    joints = np.concatenate([keypoints, np.asarray(joint_scores)[..., None]], axis=-1)
    rows = joints.reshape(n, 3 * k).astype(np.float64).tolist()
    return [
        {"image_id": int(image_id), "category_id": PERSON, "keypoints": row, "score": float(score)}
        for image_id, row, score in zip(image_ids, rows, person_scores, strict=True)
    ]


def coco_ap(results: Sequence[Mapping], annotation_file: str) -> dict[str, float]:
    """COCO's ten numbers for the entries of `coco_results`, fractions; -1 where nobody counts.

    All images of the file count, also those without results.
    """
    truth = read_truth(annotation_file)
    _check_truth(truth, annotation_file)
    sigmas = skeletons.COCO.sigmas
    _check_results(results, truth, len(sigmas), annotation_file)
    numbers, _ = _evaluate(results, truth, sigmas)
    return dict(zip(COCO_NUMBERS, numbers, strict=True))


def oks_ap(
    results: Sequence[Mapping], annotation_file: str, sigmas: Sequence[float]
) -> dict[str, float]:
    """COCO's ten numbers for people, or animals or things, with joints of any number.

    What COCO's files have besides boxes and keypoints may be missing: areas are then 0.53 of the
    boxes. All categories with as many joints as `sigmas` count as one.
    """
    truth = complete(read_truth(annotation_file), len(sigmas))
    _check_truth(truth, annotation_file)
    _check_results(results, truth, len(sigmas), annotation_file)
    numbers, _ = _evaluate(results, truth, sigmas)
    return dict(zip(COCO_NUMBERS, numbers, strict=True))


def complete(truth: Mapping, num_joints: int) -> dict:
    """The people of a file's contents that have so many joints, with what AP needs to know."""
    entries = truth.get("annotations", ())
    entries = [entry for entry in entries if len(entry.get("keypoints", ())) == 3 * num_joints]
    people = [_complete(entry) for entry in entries]
    return {**truth, "annotations": people, "categories": [{"id": PERSON, "name": "person"}]}


def _complete(entry):
    labelled = sum(value > 0 for value in entry["keypoints"][2::3])
    defaults = {"iscrowd": 0, "num_keypoints": labelled, "area": _usual_area(entry)}
    return {**defaults, **entry, "category_id": PERSON}


def _usual_area(entry):
    return AREA_OF_BOX * entry["bbox"][2] * entry["bbox"][3]


def crowdpose_ap(
    results: Sequence[Mapping], annotation_file: str, sigmas: Sequence[float]
) -> dict[str, float]:
    """CrowdPose's nine numbers, fractions; -1 where nobody counts.

    Easy, medium and hard are the AP on images by their `crowdIndex`, rounded to four digits as in
    CrowdPose's code. Areas are 0.53 of the boxes.
    """
    truth = read_truth(annotation_file)
    entries = [{**entry, "area": _usual_area(entry)} for entry in truth.get("annotations", ())]
    truth = {**truth, "annotations": entries}
    _check_truth(truth, annotation_file)
    _check_results(results, truth, len(sigmas), annotation_file)
    crowding = {image["id"]: image.get("crowdIndex") for image in truth["images"]}
    if None in crowding.values():
        raise ValueError(
            f"{annotation_file} has images without a crowdIndex; it is not one of CrowdPose's "
            "(config.eval.metrics=coco_ap needs none)"
        )
    numbers, _ = _evaluate(results, truth, sigmas)
    found = {key: numbers[place] for key, place in CROWDPOSE_NUMBERS.items()}
    for key, (low, high) in CROWDING.items():
        images = [image for image, index in crowding.items() if low <= index < high]
        found[key] = _mean_precision(results, truth, sigmas, images)
    return found


def _mean_precision(results, truth, sigmas, images):
    if not images:
        return -1.0
    _, precision = _evaluate(results, truth, sigmas, images)
    return round(float(precision[:, :, :, 0].mean()), 4)


def _evaluate(results, truth, sigmas, images=None):
    """The ten numbers, and the precision at 10 thresholds, 101 recalls, 1 category, 3 sizes, 1."""
    files, evaluator = _library()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        annotated = files()
        # A copy, for pycocotools writes into the people.
        annotated.dataset = {**truth, "annotations": [{**x} for x in truth["annotations"]]}
        annotated.createIndex()
        evaluation = evaluator(annotated, _found(annotated, results), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas, np.float64)
        evaluation.params.imgIds = images or evaluation.params.imgIds
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist(), evaluation.eval["precision"]


def _library():
    """The classes of pycocotools, or of faster-coco-eval where it is: the same numbers, sooner."""
    try:
        import faster_coco_eval
    except ImportError:
        return COCO, COCOeval
    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


def _found(annotated, results):
    """The results as pycocotools wants them."""
    if results:
        return annotated.loadRes([{**entry} for entry in results])
    # loadRes looks at the first result, and there is none.
    found = type(annotated)()
    found.dataset = {**annotated.dataset, "annotations": []}
    found.createIndex()
    return found


def read_truth(annotation_file: str) -> dict:
    """What an annotation file in COCO's format holds."""
    with open(annotation_file, encoding="utf-8") as file:
        contents = json.load(file)
    if not isinstance(contents, dict) or "images" not in contents:
        raise ValueError(
            f"{annotation_file} is not in COCO's format (a dict with the lists images, annotations "
            "and categories); AP needs such a file"
        )
    return contents


def _check_truth(truth, annotation_file):
    fields = {"keypoints", "num_keypoints", "area", "bbox", "iscrowd"}
    entries = truth.get("annotations", ())
    missing = set().union(*(fields - entry.keys() for entry in entries))
    if missing or not entries:
        what = f"annotations without {', '.join(sorted(missing))}" if missing else "no annotations"
        raise ValueError(f"{annotation_file} has {what}; AP needs a person_keypoints_*.json")
    if any(entry["id"] == 0 for entry in entries):
        # pycocotools marks an unmatched detection by the id 0.
        raise ValueError(
            f"{annotation_file} has an annotation with id 0, which AP would never count as found; "
            "number the annotations from 1"
        )


def _check_results(results, truth, num_joints, annotation_file):
    unknown = {entry["image_id"] for entry in results} - {image["id"] for image in truth["images"]}
    if unknown:
        raise ValueError(
            f"{len(unknown)} images of the results are not in {annotation_file}, e.g. "
            f"{min(unknown)}; they belong to another split"
        )
    lengths = {len(entry["keypoints"]) for entry in results} - {3 * num_joints}
    if lengths:
        raise ValueError(
            f"each result needs {3 * num_joints} keypoint numbers (x, y, score of {num_joints} "
            f"joints); got {min(lengths)}"
        )
