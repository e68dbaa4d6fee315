"""Measures how well people are followed through drawn films with known ground truth.

    python scripts/benchmark_tracking.py                                   # truth with noise
    python scripts/benchmark_tracking.py --checkpoint=runs/quickstart      # a network's poses

Without a checkpoint the poses are the truth with noise, and some are missing. With one, they are
those of the network in the boxes of the truth (with noise), as far as people are visible.

Prints for each film: for how many seconds a person is hidden at most; ID switches, and those of
people who were not hidden in between; MOTA and IDF1 by motmetrics; HOTA and its part that is about
ids, AssA, with OKS as the similarity; the jitter of joints (mean error of their acceleration)
before and after smoothing; the lag of smooth joints; and how many milliseconds of CPU tracking and
smoothing take. A person counts while at least a quarter of the joints is visible, and is hidden
otherwise.
"""

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks import hota
from data_pipelines.skeletons import COCO
from data_pipelines.synthetic import films
from data_pipelines.synthetic.films import Film, FilmedPerson
from hrjax import text_tables
from hrjax.prediction.film import similarity
from hrjax.prediction.film.follow import Follower
from hrjax.prediction.film.smoothing import OneEuro
from hrjax.prediction.film.tracking import Tracking
from hrjax.prediction.predictor import Predictor
from hrjax.prediction.results import Poses
from hrjax.runtime import script_options, terminal

VISIBLE = 0.25  # of a person's joints, from which the person counts
NOISE = 0.012  # of joints, relative to the size of the person: the standard deviation
MISSED = 0.05  # of the people who count, in each frame
SAME = 0.15  # sizes of a person; joints that are nearer on average are those of the person
LONGEST_LAG = 5.0  # frames
# Gives the poses of a frame, by its number, its people and its image.
Predict = Callable[[int, Sequence[FilmedPerson], np.ndarray], Poses]


@dataclasses.dataclass(frozen=True)
class Followed:
    """A film that was followed: a row for each person of each frame who was matched to the truth.

    `frames` (r,), `true_ids` (r,), `ids` (r,); joints (r, k, 2) are `true`, `raw` and `smooth`.
    `events` is motmetrics' accumulator, `compared` has what HOTA needs of each frame, and `seconds`
    is what following took.
    """

    frames: np.ndarray
    true_ids: np.ndarray
    ids: np.ndarray
    true: np.ndarray
    raw: np.ndarray
    smooth: np.ndarray
    events: object
    compared: tuple[hota.Frame, ...]
    seconds: float


def noisy_truth(
    seed: int, *, noise: float = NOISE, missed: float = MISSED, joints: int = COCO.num_joints
) -> Predict:
    """Poses that are the truth with noise; hidden joints are more uncertain and score low."""

    def predict(number, people, image):
        rng = np.random.default_rng([seed, number])
        people = [person for person in counted(people) if rng.random() >= missed]
        k, n = joints, len(people)
        visible = np.array([person.visible for person in people]).reshape(n, k)
        boxes = np.array([person.box for person in people]).reshape(n, 4)
        keypoints = np.array([person.keypoints for person in people]).reshape(n, k, 2)
        deviations = noise * np.sqrt(boxes[:, 2:].prod(axis=1))[:, None] * np.where(visible, 1, 3)
        keypoints = keypoints + deviations[..., None] * rng.standard_normal((n, k, 2))
        scores = np.where(visible, rng.uniform(0.6, 1, (n, k)), rng.uniform(0, 0.4, (n, k)))
        return Poses(boxes, keypoints, scores, scores.mean(axis=1))

    return predict


def predicted(predictor: Predictor, seed: int) -> Predict:
    """Poses of a network in boxes that are those of the truth with noise."""
    boxes_of = noisy_truth(seed, joints=predictor.skeleton.num_joints)

    def predict(number, people, image):
        poses = boxes_of(number, people, image)
        size = np.sqrt(poses.boxes[:, 2:].prod(axis=1))[:, None]
        rng = np.random.default_rng([seed, number, 1])
        boxes = poses.boxes + 0.03 * size * rng.standard_normal(poses.boxes.shape)
        return predictor(image, boxes)

    return predict


def counted(people: Sequence[FilmedPerson]) -> list[FilmedPerson]:
    """The people with enough visible joints."""
    return [person for person in people if person.visible.mean() >= VISIBLE]


def gray(film: Film) -> Callable[[int], np.ndarray]:
    """Draws gray images, in which all people look alike."""
    image = np.full((*film.image_size, 3), 128, np.uint8)
    return lambda number: image


def follow(
    film: Film,
    predict: Predict,
    *,
    smooth: OneEuro,
    settings: Tracking | None = None,
    draw: Callable[[int], np.ndarray] | None = None,
) -> Followed:
    """Follows the people of a film, and compares them with the truth.

    `draw` gives the images by number; by default they are the film's.
    """
    import motmetrics

    draw = draw or film.draw
    follower = Follower(film.skeleton, settings=settings, smooth=smooth)
    events, rows, compared, seconds = motmetrics.MOTAccumulator(auto_id=True), [], [], 0.0
    for number in range(film.frames):
        people, image = film.people(number), draw(number)
        raw, now = predict(number, people, image), number / film.rate
        start = time.process_time()
        given = follower.boxes(image, now, lambda _, p=raw: (p.boxes, p.scores))
        poses = follower.update(raw, given, image, now)
        seconds += time.process_time() - start
        truth = counted(people)
        distances = _distances(truth, poses)
        tracked = poses.track_ids > 0
        true_ids = [person.track_id for person in truth]
        events.update(true_ids, poses.track_ids[tracked].tolist(), distances[:, tracked])
        compared.append(
            hota.Frame(
                true_ids, poses.track_ids[tracked], _alike(truth, poses, film.skeleton)[:, tracked]
            )
        )
        for i, j in zip(*_matches(distances), strict=True):
            joints = (truth[i].keypoints, raw.keypoints[j], poses.keypoints[j])
            rows.append((number, truth[i].track_id, poses.track_ids[j], *joints))
    columns = (np.array(column) for column in zip(*rows, strict=True))
    return Followed(*columns, events, tuple(compared), seconds)


def _alike(people, poses, skeleton):
    """The OKS (n, m) of people and poses, by the joints that are visible."""
    visible = np.array([person.visible for person in people], bool).reshape(-1, skeleton.num_joints)
    joints = np.array([person.keypoints for person in people]).reshape(*visible.shape, 2)
    areas = np.array([person.box[2:].prod() for person in people])
    areas = np.repeat(areas[:, None], len(poses.boxes), axis=1)
    joints = np.where(visible[..., None], joints, np.nan)
    return similarity.pose_oks(joints, poses.keypoints, areas, skeleton.sigmas)


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


def visible_switches(film: Followed) -> int:
    """How often the id of a person changes who was not hidden in between."""
    count = 0
    counted = [set(np.asarray(frame.true_ids).tolist()) for frame in film.compared]
    tracked = film.ids > 0
    for person in np.unique(film.true_ids):
        rows = np.flatnonzero((film.true_ids == person) & tracked)
        for before, after in itertools.pairwise(rows):
            between = counted[film.frames[before] : film.frames[after]]
            changed = film.ids[before] != film.ids[after]
            count += bool(changed and all(person in frame for frame in between))
    return count


def longest_hidden(film: Followed) -> int:
    """For how many frames a person is hidden at most who was there before and is later."""
    longest = 0
    for person in np.unique(film.true_ids):
        there = [number for number, frame in enumerate(film.compared) if person in frame.true_ids]
        longest = max(longest, int(np.diff(there).max(initial=1)) - 1)
    return longest


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
    if options.gray and options.checkpoint:
        sys.exit("error: --gray excludes --checkpoint: a network sees nothing in gray images")
    one_euro = OneEuro(options.min_cutoff, options.beta, options.d_cutoff)
    predictor = Predictor(options.checkpoint) if options.checkpoint else None
    rows, every = [], []
    for seed in range(options.seed, options.seed + options.films):
        film = films.plan(
            seed,
            frames=options.frames,
            people=options.people,
            pillars=options.pillars,
            shake=options.shake,
            skeleton=predictor.skeleton if predictor else COCO,
        )
        noisy = noisy_truth(seed, noise=options.noise, missed=options.missed)
        predict = predicted(predictor, seed) if predictor else noisy
        draw = gray(film) if options.gray else film.draw
        every.append(follow(film, predict, smooth=one_euro, draw=draw))
        rows.append((str(seed), *_figures(every[-1:], film.rate)))
    rows.append(("all", *_figures(every, film.rate)))
    head = ("film", "hidden", "switches", "visible", "MOTA", "IDF1", "HOTA", "AssA")
    print(text_tables.format_table([(*head, "jitter", "smooth", "lag", "ms"), *rows]))


def _figures(every, rate):
    """The columns of the table, of one film or of several together."""
    identity = identity_metrics([film.events for film in every])
    quality = hota.hota([film.compared for film in every])
    means = np.mean(
        [
            (jitter(film, film.raw), jitter(film, film.smooth), lag(film, film.smooth))
            for film in every
        ],
        axis=0,
    )
    frames = sum(len(film.compared) for film in every)
    return (
        f"{max(longest_hidden(film) for film in every) / rate:.1f}",
        f"{identity['num_switches']:.0f}",
        f"{sum(visible_switches(film) for film in every)}",
        *(f"{identity[name]:.3f}" for name in ("mota", "idf1")),
        *(f"{quality[name]:.3f}" for name in ("hota", "assa")),
        *(f"{mean:.{digits}f}" for mean, digits in zip(means, (2, 2, 1), strict=True)),
        f"{1000 * sum(film.seconds for film in every) / frames:.2f}",
    )


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = script_options.make(__doc__)
    parser.add_argument("--checkpoint", default="", help="a network for the joints of COCO or MPII")
    parser.add_argument(
        "--gray", action="store_true", help="gray images, in which all people look alike"
    )
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
