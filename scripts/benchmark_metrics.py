"""Times rescoring and OKS-NMS of made-up people beside plain loops over them, and the AP after it.

    python scripts/benchmark_metrics.py --people=100000

The loops do what the official HRNet does (dataset/coco.py, nms/nms.py): person by person, joint by
joint. Both must keep the same people in the same order. The arrays are timed five times (median),
the loops and AP (by faster-coco-eval where it is installed) once. `alike` is the share of people
who were found twice.
"""

import argparse
import collections
import importlib.util
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np

from data_pipelines.skeletons import COCO
from hrjax.evaluation import average_precision, oks

JOINT_THRESHOLD, OKS_THRESHOLD = 0.2, 0.9


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--per_image", type=int, default=20)
    parser.add_argument("--alike", type=float, default=0.25)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
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
    poses[again] = poses[again - 1]  # somebody of the same image
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
        person_scores = oks.rescore(scores, box_scores, threshold=JOINT_THRESHOLD)
        kept = oks.nms(keypoints, person_scores, areas, images, COCO.sigmas, OKS_THRESHOLD)
        times.append(time.perf_counter() - start)
    arrays = statistics.median(times)
    start = time.perf_counter()
    expected = keep_in_loops(*people)
    loops = time.perf_counter() - start
    if kept.tolist() != expected:
        raise SystemExit(f"the loops keep {len(expected)} other people than the arrays")
    return {"kept": len(kept), "arrays_s": arrays, "loops_s": loops, "times_faster": loops / arrays}


def keep_in_loops(keypoints, scores, box_scores, areas, images):
    """Rows that rescoring and hard OKS-NMS keep, found as the official code does."""
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
    """Whom to keep of the people of one image."""
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
    found = np.zeros(others.shape[0])
    for place in range(others.shape[0]):
        dx, dy = others[place, 0::3] - x, others[place, 1::3] - y
        error = (dx**2 + dy**2) / variance / ((area + areas[place]) / 2 + np.spacing(1)) / 2
        found[place] = np.sum(np.exp(-error)) / error.shape[0]
    return found


def time_ap(people):
    """Seconds of AP for one of five people as the truth and all as results."""
    keypoints, scores, box_scores, areas, images = people
    flags = np.full((len(images), 17, 1), 2.0)
    joints = np.concatenate([keypoints, flags], -1).reshape(len(images), -1).tolist()
    box = {"bbox": [0, 0, 600, 600], "iscrowd": 0, "num_keypoints": 17, "category_id": 1}
    annotations = [
        {"id": row + 1, "image_id": int(images[row]), "area": areas[row], "keypoints": joints[row]}
        for row in range(0, len(images), 5)
    ]
    truth = {"images": [{"id": int(image)} for image in np.unique(images)]}
    truth |= {"categories": [{"id": 1, "name": "person"}]}
    truth |= {"annotations": [{**box, **entry} for entry in annotations]}
    results = average_precision.coco_results(keypoints, scores, box_scores, images)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "truth.json")
        file.write_text(json.dumps(truth))
        start = time.perf_counter()
        average_precision.coco_ap(results, str(file))
        faster = importlib.util.find_spec("faster_coco_eval")
        name = "faster_coco_eval_s" if faster else "pycocotools_s"
        return {name: time.perf_counter() - start}


if __name__ == "__main__":
    main()
