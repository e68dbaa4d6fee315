"""People are followed between detections, by boxes around their joints."""

import numpy as np
import pytest

from data_pipelines.skeletons import COCO
from hrjax.prediction.film.follow import Follower
from hrjax.prediction.film.smoothing import OneEuro
from hrjax.prediction.predictor import Predictor
from hrjax.prediction.results import Poses

SHAPE = np.stack([np.linspace(0, 60, 17) * np.tile([1, 0.2], 9)[:17], np.linspace(0, 150, 17)], -1)
IMAGE = np.zeros((400, 600, 3), np.uint8)


class World:
    """People at known places, a detector of them, and a network that predicts them in boxes."""

    def __init__(self, *people, misses=()):
        self.people, self.misses, self.time, self.asked = people, misses, 0, 0

    def places(self):
        """Upper left corners by person; None for who is not there."""
        return [person(self.time) for person in self.people]

    def detect(self, image):
        self.asked += 1
        there = [
            (*place, 60.0, 150.0)
            for number, place in enumerate(self.places())
            if place is not None and (number, self.asked) not in self.misses
        ]
        return np.array(there).reshape(-1, 4), np.full(len(there), 0.9)

    def predict(self, boxes):
        """The person nearest to each box, with low scores where there is none in it."""
        keypoints, scores = np.zeros((len(boxes), 17, 2)), np.zeros((len(boxes), 17))
        places = [place for place in self.places() if place is not None]
        for row, box in enumerate(boxes):
            middle = box[:2] + box[2:] / 2
            distances = [np.abs(np.add(place, (30, 75)) - middle).max() for place in places]
            best = int(np.argmin(distances)) if places else -1
            is_there = bool(places) and distances[best] < 50
            keypoints[row] = np.add(SHAPE, places[best]) if is_there else middle + SHAPE / 9
            scores[row] = 0.9 if is_there else 0.2
        return Poses(np.asarray(boxes), keypoints, scores, scores.mean(axis=1))

    def run(self, frames, **options):
        """The poses of each frame, at ten frames per second."""
        follower, every = Follower(COCO, **options), []
        for self.time in range(frames):
            given = follower.boxes(IMAGE, self.time / 10, self.detect)
            every.append(follower.update(self.predict(given.boxes), given, IMAGE, self.time / 10))
        return every


def walking(speed=8, start=20):
    return lambda time: (start + speed * time, 50)


def standing(x=450):
    return lambda time: (x, 100)


def ids(every):
    return [poses.track_ids.tolist() for poses in every]


@pytest.mark.parametrize(("detect_every", "asked"), [(1, 20), (5, 4), (7, 3), (0, 1)])
def test_detections_are_made_as_often_as_asked_for(detect_every, asked):
    world = World(walking(), standing())
    every = world.run(20, detect_every=detect_every)
    assert world.asked == asked
    assert [sorted(each) for each in ids(every)] == [[1, 2]] * 20
    for time, poses in enumerate(every):
        place = poses.keypoints[poses.track_ids == 1][0] - SHAPE
        np.testing.assert_allclose(place, np.broadcast_to((20 + 8 * time, 50), (17, 2)))


def test_who_leaves_is_given_up_and_who_comes_is_found_with_the_next_detection():
    leaving = lambda time: (450, 100) if time < 8 else None  # noqa: E731
    coming = lambda time: (200, 100) if time > 6 else None  # noqa: E731
    every = World(leaving, coming).run(20, detect_every=5)
    assert ids(every) == [[1]] * 8 + [[]] * 2 + [[2]] * 10


def test_people_whom_the_detector_misses_are_kept():
    world = World(standing(), standing(100), misses={(0, 2), (0, 3), (1, 3)})
    assert [sorted(each) for each in ids(world.run(20, detect_every=5))] == [[1, 2]] * 20


def test_without_tracks_in_between_detections_are_all_there_is():
    twice = World(standing(), standing(451))  # the same person twice
    every = twice.run(3)
    assert ids(every) == [[1, 0]] * 3
    assert [len(poses.boxes) for poses in every] == [2] * 3


def test_smooth_joints_are_between_the_last_and_the_next_ones():
    (first, second) = World(walking()).run(2, smooth=OneEuro(min_cutoff=1.0, beta=0.0))
    np.testing.assert_allclose(first.keypoints[0] - SHAPE, np.broadcast_to((20, 50), (17, 2)))
    moved = second.keypoints[0, :, 0] - first.keypoints[0, :, 0]
    assert (moved > 1).all()
    assert (moved < 7).all()


def test_negative_intervals_are_refused():
    with pytest.raises(ValueError, match="detect_every is -1; expected 1 for every frame, N for"):
        Follower(COCO, detect_every=-1)


@pytest.fixture
def dotted(dots):
    """A film of a bright dot that moves to the right."""
    return [dots([(30 + 8 * number, 60)]) for number in range(10)]


def test_the_predictor_follows_people_through_images(bright, dotted):
    predictor = Predictor(bright.network)
    boxes = [[(8 * number, 30, 60, 60)] for number in range(10)]
    every = list(predictor.track(dotted, boxes=boxes, rate=10))
    assert ids(every) == [[1]] * 10
    for number, poses in enumerate(every):
        alone = predictor(dotted[number], boxes[number])
        np.testing.assert_array_equal(poses.keypoints, alone.keypoints)
        np.testing.assert_array_equal(poses.person_scores, alone.person_scores)


def test_the_predictor_takes_detectors_as_functions_and_films_as_files(bright, dotted, tmp_path):
    from hrjax.prediction.film import writing

    writer = writing.VideoWriter(tmp_path / "dot.mp4", 10.0)
    for image in dotted:
        writer.write(image)
    writer.close()
    detector = lambda image: (np.array([(0.0, 0, 160, 120)]), np.array([0.5]))  # noqa: E731
    every = list(Predictor(bright.network).track(tmp_path / "dot.mp4", detector=detector))
    assert ids(every) == [[1]] * 10
    assert all(poses.person_scores[0] < 0.5 for poses in every)


def test_too_few_boxes_and_wrong_names_are_said_at_once(bright, dotted):
    predictor = Predictor(bright.network)
    with pytest.raises(FileNotFoundError, match="no detector of that name; did you mean yolox_s"):
        predictor.track(dotted, detector="yolo")
    with pytest.raises(ValueError, match="boxes for 2 frames, and the film has more"):
        list(predictor.track(dotted, boxes=[[(0, 0, 99, 99)]] * 2))
