"""Times rescoring and OKS-NMS of random people against plain loops over them, and then AP.

    python scripts/benchmark_metrics.py --people=100000

The loops do what the official HRNet does (dataset/coco.py, nms/nms.py): person by person, joint by
joint. Both must keep the same people in the same order. The arrays are timed five times (median),
the loops and AP (by faster-coco-eval where it is installed) once. `alike` is the share of people
that are detected twice.
"""

import collections
import importlib.util
import json
import statistics
import time

import numpy as np

from data_pipelines.ground_truth import Truth
from data_pipelines.skeletons import COCO
from hrjax import detections
from hrjax.evaluation import average_precision, nms
from hrjax.runtime import script_options, terminal

JOINT_THRESHOLD, OKS_THRESHOLD = 0.2, 0.9


def main():
    parser = script_options.make(__doc__)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--per_image", type=int, default=20)
    parser.add_argument("--alike", type=float, default=0.25)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = script_options.parse(parser)
    people = make_people(options.people, options.per_image, options.alike)
    numbers = {"people": options.people, **compare(people), **time_ap(people)}
    rows = [f"{key:16}  {value:.4g}" for key, value in numbers.items()]
    print(json.dumps(numbers) if options.json else "\n".join(rows))


def make_people(count, per_image, alike):
    """Keypoints (n, 17, 2), joint scores, box scores, areas and images, in random order."""
    rng = np.random.default_rng(0)
    poses = rng.uniform(0, 200, (count, 17, 2)) + rng.uniform(0, 400, (count, 1, 2))
    again = np.flatnonzero(rng.random(count) < alike)
    again = again[again % per_image > 0]
    poses[again] = poses[again - 1]  # another person of the same image
    keypoints = (poses + rng.normal(0, 3, poses.shape)).astype(np.float32)
    scores = rng.random((count, 17)).astype(np.float32)
    images = np.arange(count) // per_image + 1
    order = rng.permutation(count)
    people = (keypoints, scores, rng.random(count), rng.uniform(1e4, 9e4, count), images)
    return tuple(values[order] for values in people)


def compare(people):
    """Seconds of the arrays and of the loops, and how many times faster; checks that they agree."""
    keypoints, scores, box_scores, areas, images = people
    times = []
    for _ in range(5):
        start = time.perf_counter()
        person_scores = detections.rescore(scores, box_scores, threshold=JOINT_THRESHOLD)
        kept = nms.hard_nms(keypoints, person_scores, areas, images, COCO.sigmas, OKS_THRESHOLD)
        times.append(time.perf_counter() - start)
    arrays = statistics.median(times)
    start = time.perf_counter()
    expected = keep_in_loops(*people)
    loops = time.perf_counter() - start
    if kept.tolist() != expected:
        raise SystemExit(f"the loops keep {len(expected)} other people than the arrays")
    return {"kept": len(kept), "arrays_s": arrays, "loops_s": loops, "times_faster": loops / arrays}


def keep_in_loops(keypoints, scores, box_scores, areas, images):
    """Rows that rescoring and hard OKS-NMS keep, computed as the official code does."""
    people_of = collections.defaultdict(list)
    for row, image in enumerate(images):
        joints = np.concatenate([keypoints[row], scores[row][:, None]], axis=-1)
        person = {"row": row, "keypoints": joints, "score": box_scores[row], "area": areas[row]}
        people_of[image].append(person)
    kept = []
    for _, people in sorted(people_of.items()):
        for person in people:
            person["score"] = rescore_one(person)
        kept += [people[place]["row"] for place in nms_one_by_one(people)]
    return kept


def rescore_one(person):
    """One person's score."""
    total, valid = 0, 0
    for joint in range(17):
        score = person["keypoints"][joint][2]
        if score > JOINT_THRESHOLD:
            total = total + score
            valid = valid + 1
    if valid != 0:
        total = total / valid
    return total * person["score"]


def nms_one_by_one(people):
    """Which of the people of one image to keep."""
    scores = np.array([person["score"] for person in people])
    joints = np.array([person["keypoints"].flatten() for person in people])
    areas = np.array([person["area"] for person in people])
    order = scores.argsort(kind="stable")[::-1]
    kept = []
    while order.size > 0:
        best = order[0]
        kept.append(best)
        alike = similarity_one_by_one(
            joints[best], joints[order[1:]], areas[best], areas[order[1:]]
        )
        order = order[np.where(alike <= OKS_THRESHOLD)[0] + 1]
    return kept


def similarity_one_by_one(best, others, area, areas):
    """OKS of one person with each of the others."""
    variance = (np.array(COCO.sigmas) * 2) ** 2
    x, y = best[0::3], best[1::3]
    alike = np.zeros(others.shape[0])
    for place in range(others.shape[0]):
        dx, dy = others[place, 0::3] - x, others[place, 1::3] - y
        error = (dx**2 + dy**2) / variance / ((area + areas[place]) / 2 + np.spacing(1)) / 2
        alike[place] = np.sum(np.exp(-error)) / error.shape[0]
    return alike


def time_ap(columns):
    """Seconds of AP with one in five people as the truth and all as detections."""
    keypoints, scores, box_scores, areas, images = columns
    people = detections.make(images, keypoints, scores, box_scores)
    start = time.perf_counter()
    average_precision.coco_ap(people, make_truth(keypoints[::5], areas[::5], images, images[::5]))
    faster = importlib.util.find_spec("faster_coco_eval")
    return {"faster_coco_eval_s" if faster else "pycocotools_s": time.perf_counter() - start}


def make_truth(keypoints, areas, images, own_images):
    """Poses as annotated people with all joints labeled."""
    count, image_ids = len(keypoints), np.unique(images)
    return Truth(
        path="made-up people",
        skeleton=COCO,
        category_id=1,
        category="person",
        image_ids=image_ids,
        image_names=[str(number) for number in image_ids],
        image_sizes=np.full((len(image_ids), 2), 600.0),
        crowd_index=np.full(len(image_ids), np.nan),
        annotation_ids=range(1, count + 1),
        image_rows=np.searchsorted(image_ids, own_images),
        boxes=np.tile([0.0, 0, 600, 600], (count, 1)),
        keypoints=keypoints.astype(np.float64),
        visibility=np.full(keypoints.shape[:2], 2.0),
        areas=areas,
        labeled=np.full(count, COCO.num_joints),
        crowds=np.zeros(count, bool),
        dropped={},
        annotated=True,
    )


if __name__ == "__main__":
    terminal.run(main)
