"""Measures how well people are followed through drawn films with known ground truth.

    python scripts/benchmark_tracking.py                                   # truth with noise
    python scripts/benchmark_tracking.py --checkpoint=runs/quickstart      # a network's poses

Without a checkpoint the poses are the truth with noise, and some are missing. With one, they are
those of the network in the boxes of the truth (with noise), as far as people are visible.

Prints for each film: ID switches, MOTA and IDF1 by motmetrics; the
jitter of joints (mean error of their acceleration) before and after smoothing; the lag of smooth
joints; and what following costs. A person counts while at least a quarter of the joints is visible.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from data_pipelines.skeletons import COCO
from data_pipelines.synthetic import films
from data_pipelines.synthetic.films import Film, FilmedPerson
from hrjax import text_tables
from hrjax.prediction.film.follow import Follower
from hrjax.prediction.film.smoothing import OneEuro
from hrjax.prediction.film.tracking import Tracking
from hrjax.prediction.results import Poses
from hrjax.runtime import script_options, terminal

VISIBLE = 0.25  # of a person's joints, from which the person counts
NOISE = 0.012  # of joints, relative to the size of the person: the standard deviation
MISSED = 0.05  # of the people who count, in each frame
SAME = 0.15  # sizes of a person; joints that are nearer on average are those of the person
LONGEST_LAG = 5.0  # frames
# Gives the poses of a frame, by its number and its people.
Predict = Callable[[int, Sequence[FilmedPerson]], Poses]


@dataclasses.dataclass(frozen=True)
class Followed:
    """A film that was followed: a row for each person of each frame who was matched to the truth.

    `frames` (r,), `true_ids` (r,), `ids` (r,); joints (r, k, 2) are `true`, `raw` and `smooth`.
    `events` is motmetrics' accumulator, `seconds` what following took.
    """

    frames: np.ndarray
    true_ids: np.ndarray
    ids: np.ndarray
    true: np.ndarray
    raw: np.ndarray
    smooth: np.ndarray
    events: object
    seconds: float


def noisy_truth(seed: int, *, noise: float = NOISE, missed: float = MISSED) -> Predict:
    """Poses that are the truth with noise; hidden joints are more uncertain and score low."""

    def predict(number, people):
        rng = np.random.default_rng([seed, number])
        people = [person for person in counted(people) if rng.random() >= missed]
        k, n = COCO.num_joints, len(people)
        visible = np.array([person.visible for person in people]).reshape(n, k)
        boxes = np.array([person.box for person in people]).reshape(n, 4)
        keypoints = np.array([person.keypoints for person in people]).reshape(n, k, 2)
        deviations = noise * np.sqrt(boxes[:, 2:].prod(axis=1))[:, None] * np.where(visible, 1, 3)
        keypoints = keypoints + deviations[..., None] * rng.standard_normal((n, k, 2))
        scores = np.where(visible, rng.uniform(0.6, 1, (n, k)), rng.uniform(0, 0.4, (n, k)))
        return Poses(boxes, keypoints, scores, scores.mean(axis=1))

    return predict


def predicted(film: Film, checkpoint: str, seed: int) -> Predict:
    """Poses of a network in boxes that are those of the truth with noise."""
    from hrjax.prediction.predictor import Predictor

    predictor = Predictor(checkpoint)
    boxes_of = noisy_truth(seed)

    def predict(number, people):
        poses = boxes_of(number, people)
        size = np.sqrt(poses.boxes[:, 2:].prod(axis=1))[:, None]
        rng = np.random.default_rng([seed, number, 1])
        boxes = poses.boxes + 0.03 * size * rng.standard_normal(poses.boxes.shape)
        return predictor(film.draw(number), boxes)

    return predict


def counted(people: Sequence[FilmedPerson]) -> list[FilmedPerson]:
    """The people with enough visible joints."""
    return [person for person in people if person.visible.mean() >= VISIBLE]


def follow(
    film: Film, predict: Predict, *, smooth: OneEuro, settings: Tracking | None = None
) -> Followed:
    """Follows the people of a film, and compares them with the truth."""
    import motmetrics

    follower = Follower(COCO, settings=settings, smooth=smooth)
    events, rows, seconds = motmetrics.MOTAccumulator(auto_id=True), [], 0.0
    for number in range(film.frames):
        people = film.people(number)
        raw, now = predict(number, people), number / film.rate
        start = time.perf_counter()
        given = follower.boxes(
            np.zeros((1, 1, 3), np.uint8), now, lambda _, p=raw: (p.boxes, p.scores)
        )
        poses = follower.update(raw, given, now)
        seconds += time.perf_counter() - start
        truth = counted(people)
        distances = _distances(truth, poses)
        tracked = poses.track_ids > 0
        true_ids = [person.track_id for person in truth]
        events.update(true_ids, poses.track_ids[tracked].tolist(), distances[:, tracked])
        for i, j in zip(*_matches(distances), strict=True):
            joints = (truth[i].keypoints, raw.keypoints[j], poses.keypoints[j])
            rows.append((number, truth[i].track_id, poses.track_ids[j], *joints))
    return Followed(*(np.array(column) for column in zip(*rows, strict=True)), events, seconds)


def _distances(people, poses):
    """The mean distances (n, m) of visible joints, in sizes of the person; NaN for other people.

    Not those of boxes: in the box of a person who is half hidden, a network may predict another.
    """
    distances = np.full((len(people), len(poses.boxes)), np.nan)
    for row, person in enumerate(people):
        joints = np.linalg.norm(poses.keypoints - person.keypoints, axis=-1)[:, person.visible]
        distances[row] = joints.mean(axis=1) / np.sqrt(person.box[2:].prod())
    return np.where(distances < SAME, distances, np.nan)


def _matches(distances):
    rows, columns = linear_sum_assignment(np.nan_to_num(distances, nan=2.0))
    close = ~np.isnan(distances[rows, columns])
    return rows[close], columns[close]


def identity_metrics(events: Sequence[object]) -> dict[str, float]:
    """ID switches, MOTA and IDF1 of several films together."""
    import motmetrics

    names = ["num_switches", "num_misses", "num_false_positives", "num_objects"]
    names += ["idtp", "idfp", "idfn"]
    host, sums = motmetrics.metrics.create(), dict.fromkeys(names, 0.0)
    for each in events:
        counts = host.compute(each, metrics=names, return_dataframe=False)
        sums = {name: sums[name] + counts[name] for name in names}
    wrong = sums["num_switches"] + sums["num_misses"] + sums["num_false_positives"]
    pairs = 2 * sums["idtp"] + sums["idfp"] + sums["idfn"]
    return {
        "num_switches": sums["num_switches"],
        "mota": 1 - wrong / max(sums["num_objects"], 1),
        "idf1": 2 * sums["idtp"] / max(pairs, 1),
    }


def jitter(film: Followed, joints: np.ndarray) -> float:
    """The mean error of the acceleration of joints (r, k, 2), in pixels per frame²."""
    errors = []
    for rows in _runs(film):
        difference = joints[rows] - film.true[rows]
        errors.append(np.linalg.norm(np.diff(difference, n=2, axis=0), axis=-1).ravel())
    return float(np.concatenate(errors).mean())


def lag(film: Followed, joints: np.ndarray) -> float:
    """By how many frames joints (r, k, 2) are behind the truth: where their distance is least."""
    lags = np.arange(0, LONGEST_LAG + 0.05, 0.1)
    sums = np.zeros(len(lags))
    for rows in _runs(film):
        if len(rows) <= LONGEST_LAG + 1:
            continue
        late = int(LONGEST_LAG) + 1
        steps = np.arange(late, len(rows))
        for place, each in enumerate(lags):
            whole, part = divmod(each, 1)
            newer, older = (
                film.true[rows[steps - int(whole)]],
                film.true[rows[steps - int(whole) - 1]],
            )
            moved = (1 - part) * newer + part * older
            sums[place] += np.square(joints[rows[steps]] - moved).sum()
    return float(lags[sums.argmin()])


def _runs(film):
    """Rows of one person with one track id in consecutive frames, at least three."""
    for person in np.unique(film.true_ids):
        rows = np.flatnonzero(film.true_ids == person)
        new = (np.diff(film.frames[rows]) > 1) | (np.diff(film.ids[rows]) != 0)
        yield from (run for run in np.split(rows, np.flatnonzero(new) + 1) if len(run) > 2)


def main() -> None:
    options = parse()
    one_euro = OneEuro(options.min_cutoff, options.beta, options.d_cutoff)
    rows, every = [], []
    for seed in range(options.seed, options.seed + options.films):
        film = films.plan(
            seed,
            frames=options.frames,
            people=options.people,
            pillars=options.pillars,
            shake=options.shake,
        )
        noisy = noisy_truth(seed, noise=options.noise, missed=options.missed)
        predict = predicted(film, options.checkpoint, seed) if options.checkpoint else noisy
        done = follow(film, predict, smooth=one_euro)
        every.append(done.events)
        rows.append((str(seed), *_figures(done, [done.events], film.frames)))
    rows.append(("all", *_figures(done, every, film.frames)[:3], "", "", "", ""))
    head = ("film", "switches", "MOTA", "IDF1", "jitter", "smooth", "lag", "ms")
    print(text_tables.format_table([head, *rows]))


def _figures(film, events, frames):
    found = identity_metrics(events)
    return (
        f"{found['num_switches']:.0f}",
        f"{found['mota']:.3f}",
        f"{found['idf1']:.3f}",
        f"{jitter(film, film.raw):.2f}",
        f"{jitter(film, film.smooth):.2f}",
        f"{lag(film, film.smooth):.1f}",
        f"{1000 * film.seconds / frames:.2f}",
    )


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = script_options.make(__doc__)
    parser.add_argument("--checkpoint", default="", help="a network for COCO's joints")
    for name, default in (
        ("films", 8),
        ("frames", 300),
        ("people", 3),
        ("pillars", 1),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"(default: {default})")
    one_euro = dataclasses.asdict(OneEuro())
    for name, default in {"shake": 2.0, "noise": NOISE, "missed": MISSED, **one_euro}.items():
        parser.add_argument(f"--{name}", type=float, default=default, help=f"(default: {default})")
    return script_options.parse(parser)


if __name__ == "__main__":
    terminal.run(main)
