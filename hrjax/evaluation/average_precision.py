"""Average precision of detections: COCO's for any joints, and CrowdPose's.

pycocotools computes it, or faster-coco-eval where it is installed: the same numbers, sooner. Both
get the truth as it was read and cleaned, with ids that they can count on.
"""

import contextlib
import dataclasses
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data_pipelines.ground_truth import AREA_OF_BOX, Truth
from hrjax.detections import Detections

COCO_NUMBERS = (
    *("AP", "AP .5", "AP .75", "AP (M)", "AP (L)"),
    *("AR", "AR .5", "AR .75", "AR (M)", "AR (L)"),
)
# CrowdPose has no sizes; these are the places of its first six among COCO's ten.
CROWDPOSE_NUMBERS = {"AP": 0, "AP .5": 1, "AP .75": 2, "AR": 5, "AR .5": 6, "AR .75": 7}
# From the first up to the second. The paper says 0.1 and 0.8; its code, and so every published
# number, has 0.2 and 0.8.
CROWDING = {"AP (E)": (-np.inf, 0.2), "AP (M)": (0.2, 0.8), "AP (H)": (0.8, np.inf)}
COCO_MAX_PEOPLE = 20  # COCO compares as many detections of an image
_PERSON = 1  # the category in what the libraries get


def coco_ap(
    detections: Detections, truth: Truth, *, max_people: int = COCO_MAX_PEOPLE
) -> dict[str, float]:
    """COCO's ten numbers, as fractions; -1 where no annotation counts.

    All images of the truth count, also those without detections. Of each image the `max_people`
    best detections are compared; 0 compares all. Where several categories count as one, as AP-10K's
    species do, the numbers are means over them, and detections are of the category of their image.
    """
    _check(detections, truth)
    numbers, _ = _evaluate(detections, truth, max_people)
    return dict(zip(COCO_NUMBERS, numbers, strict=True))


def crowdpose_ap(
    detections: Detections, truth: Truth, *, max_people: int = COCO_MAX_PEOPLE
) -> dict[str, float]:
    """CrowdPose's nine numbers, as fractions; -1 where no annotation counts.

    Easy, medium and hard are the AP on images by their `crowdIndex`, rounded to four digits as in
    CrowdPose's code. Areas are AREA_OF_BOX of the boxes.
    """
    _check(detections, truth)
    if np.isnan(truth.crowd_index).any():
        raise ValueError(
            f"{truth.path} has images without a crowdIndex; it is not one of CrowdPose's "
            "(config.eval.metrics=coco_ap needs none)"
        )
    areas = AREA_OF_BOX * truth.boxes[:, 2] * truth.boxes[:, 3]
    truth = dataclasses.replace(truth, areas=areas)
    ten, _ = _evaluate(detections, truth, max_people)
    numbers = {name: ten[place] for name, place in CROWDPOSE_NUMBERS.items()}
    for name, (low, high) in CROWDING.items():
        chosen = (low <= truth.crowd_index) & (truth.crowd_index < high)
        numbers[name] = _mean_precision(detections, truth, max_people, chosen)
    return numbers


def _mean_precision(detections, truth, max_people, chosen):
    if not chosen.any():
        return -1.0
    _, precision = _evaluate(detections, truth, max_people, chosen)
    return round(float(precision[:, :, :, 0].mean()), 4)


def _check(detections, truth):
    if not truth.annotated:
        raise ValueError(f"{truth.path} has no annotations to compare detections with")
    unknown = truth.rows_of_images(detections.image_ids) < 0
    if unknown.any():
        ids = np.unique(detections.image_ids[unknown])
        raise ValueError(
            f"{len(ids)} images of the detections are not in {truth.path}, e.g. {ids[0]}; they "
            "belong to another split"
        )
    k = detections.keypoints.shape[1]
    if len(detections) and k != truth.skeleton.num_joints:
        raise ValueError(
            f"the detections have {k} joints and the annotations of {truth.path} have "
            f"{truth.skeleton.num_joints}"
        )


def _evaluate(detections, truth, max_people, chosen=None):
    """The ten numbers, and the precision at 10 thresholds, 101 recalls, each category, 3 sizes, 1.

    `chosen` (m,) says which of the truth's images count, all by default.
    """
    # Ids that keep the order of the file's, by which the libraries break ties between images.
    ids = np.argsort(np.argsort(truth.image_ids, kind="stable")) + 1
    rows = truth.rows_of_images(detections.image_ids)
    of_truth, of_images = _categories(truth)
    expected = _truth_entries(truth, ids, of_truth)
    given = _detection_entries(detections, ids[rows], of_images[rows])
    limit = max_people or max(1, _most_per_image(detections.image_ids))
    files, evaluator = _library()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = evaluator(_file(files, ids, expected), _file(files, ids, given), "keypoints")
        evaluation.print_function = _stay_silent  # faster-coco-eval logs its progress
        evaluation.params.kpt_oks_sigmas = np.array(truth.skeleton.sigmas, np.float64)
        evaluation.params.maxDets = [limit]
        if chosen is not None:
            evaluation.params.imgIds = ids[chosen].tolist()
        evaluation.evaluate()
        evaluation.accumulate()
    return _ten_numbers(evaluation), evaluation.eval["precision"]


def _categories(truth):
    """The category of every annotation and of every image, counted from 1."""
    if truth.category_ids is None:
        return np.full(len(truth), _PERSON), np.full(len(truth.image_ids), _PERSON)
    both = np.concatenate([truth.category_ids, truth.categories_of_images()])
    _, numbers = np.unique(both, return_inverse=True)
    return numbers[: len(truth)] + 1, numbers[len(truth) :] + 1


def _library():
    """The classes of faster-coco-eval where it is installed, else those of pycocotools."""
    try:
        import faster_coco_eval
    except ImportError:
        return COCO, COCOeval
    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


def _stay_silent(*_):
    pass


def _file(files, image_ids, entries):
    """A library's annotation file with the entries."""
    file = files()
    file.dataset = {
        "images": [{"id": number} for number in image_ids.tolist()],
        "annotations": entries,
        "categories": [{"id": number} for number in _category_ids(entries)],
    }
    file.createIndex()
    return file


def _category_ids(entries):
    return sorted({_PERSON, *(entry["category_id"] for entry in entries)})


def _truth_entries(truth, ids, categories):
    joints = np.concatenate([truth.keypoints, truth.visibility[..., None]], axis=-1)
    columns = {
        "image_id": ids[truth.image_rows].tolist(),
        "category_id": categories.tolist(),
        "keypoints": joints.reshape(len(truth), 3 * truth.skeleton.num_joints).tolist(),
        "num_keypoints": truth.labeled.tolist(),
        "area": truth.areas.tolist(),
        "bbox": truth.boxes.tolist(),
        "iscrowd": truth.crowds.astype(int).tolist(),
    }
    return _entries(columns)


def _detection_entries(detections, image_ids, categories):
    columns = {
        "image_id": image_ids.tolist(),
        "category_id": categories.tolist(),
        "keypoints": detections.triples.tolist(),
        "area": detections.areas.tolist(),
        "score": detections.person_scores.tolist(),
    }
    return _entries(columns)


def _entries(columns):
    """Entries of an annotation file from columns, with ids from 1 on.

    To pycocotools the id 0 marks a detection without a match, and negative ones confuse
    faster-coco-eval.
    """
    rows = zip(*columns.values(), strict=True)
    return [
        {"id": number, **dict(zip(columns, row, strict=True))}
        for number, row in enumerate(rows, start=1)
    ]


def _most_per_image(image_ids):
    _, counts = np.unique(image_ids, return_counts=True)
    return int(counts.max(initial=0))


def _ten_numbers(evaluation):
    """What the libraries' `summarize` computes, which only knows a limit of 20 detections."""
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    limits = evaluation.params.iouThrs
    levels = (slice(None), limits == 0.5, limits == 0.75)
    sizes = ([0], [1], [2])  # all, medium, large
    numbers = []
    for table in (precision, recall):
        numbers += [_mean(table[level][..., 0, :]) for level in levels]
        numbers += [_mean(table[..., size, :]) for size in sizes[1:]]
    return numbers


def _mean(values: np.ndarray) -> float:
    """The mean of the numbers that mean something; -1 where none does."""
    known = values[values > -1]
    return float(known.mean()) if len(known) else -1.0
