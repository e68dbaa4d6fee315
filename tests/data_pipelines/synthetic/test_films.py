"""Films of drawn people: smooth, reproducible, and true about who is where."""

import numpy as np
import pytest

from data_pipelines.skeletons import COCO
from data_pipelines.synthetic import films

SIZE = (96, 128)


@pytest.fixture(scope="module")
def film():
    return films.plan(4, frames=90, people=3, image_size=SIZE, pillars=1, shake=2.0)


def joints(film, numbers):
    """The joints of all people, (frames, people, 17, 2)."""
    return np.array([[person.keypoints for person in film.people(n)] for n in numbers])


def test_a_seed_decides_all(film):
    again = films.plan(4, frames=90, people=3, image_size=SIZE, pillars=1, shake=2.0)
    other = films.plan(5, frames=90, people=3, image_size=SIZE, pillars=1, shake=2.0)
    np.testing.assert_array_equal(film.draw(30), again.draw(30))
    np.testing.assert_array_equal(joints(film, [30]), joints(again, [30]))
    assert (film.draw(30) != other.draw(30)).mean() > 0.5
    assert (film.draw(30).shape, film.draw(30).dtype) == ((*SIZE, 3), np.uint8)


def test_people_move_smoothly_and_cross_the_image():
    still = films.plan(1, frames=300, people=2, image_size=SIZE)
    course = joints(still, range(300))
    speed = np.linalg.norm(np.diff(course, axis=0), axis=-1)
    jumps = np.linalg.norm(np.diff(course, n=2, axis=0), axis=-1)
    assert speed.max() < 0.06 * SIZE[0]
    assert jumps.max() < 0.015 * SIZE[0]
    assert np.ptp(course[..., 0].mean(axis=2), axis=0).min() > 0.4 * SIZE[1]


def test_truth_lies_on_the_people_who_are_drawn():
    alone = films.plan(2, frames=60, people=1, image_size=SIZE, shake=2.0)
    before = films.plan(2, frames=60, people=1, image_size=SIZE, shake=2.0)
    hips = [COCO.names.index(name) for name in ("left_hip", "right_hip")]
    for number in (0, 40):
        (person,) = alone.people(number)
        assert person.track_id == 1
        image, other = alone.draw(number).astype(int), before.draw(59 - number).astype(int)
        changed = np.abs(image - other).sum(axis=-1) > 60
        x, y = np.rint(person.keypoints[hips].mean(axis=0)).astype(int)
        near, far = person.box[:2], person.box[:2] + person.box[2:]
        assert changed[y, x]
        assert (person.keypoints >= near).all()
        assert (person.keypoints <= far).all()


def test_who_is_behind_a_person_or_a_pillar_is_hidden(film):
    shares = np.array([[person.visible.mean() for person in film.people(n)] for n in range(90)])
    assert shares.max() == 1
    assert shares.min() < 0.3
    pillar = film.pillars[0]
    for number in range(0, 90, 10):
        camera = film._camera(number)
        for person in film.people(number):
            scene = (person.keypoints - camera[:2, 2]) @ np.linalg.inv(camera[:2, :2]).T
            behind = (scene[:, 0] > pillar[0] + 0.5) & (scene[:, 0] < pillar[1] - 0.5)
            assert not person.visible[behind].any()
    nearest = max(range(3), key=lambda person: film.walkers[person].height)
    without = films.plan(4, frames=90, people=3, image_size=SIZE)
    for number in range(0, 90, 10):
        person = without.people(number)[nearest]
        inside = ((person.keypoints >= 0) & (person.keypoints < SIZE[::-1])).all(axis=1)
        assert person.visible[inside].all()


def test_a_shaking_camera_shows_no_edge(film):
    for number in (10, 50):
        image = film.draw(number).astype(int)
        for edge in (image[:, :3], image[:, -3:], image[:3], image[-3:]):
            assert edge.sum(axis=-1).min() > 0


def test_impossible_films_are_refused():
    with pytest.raises(ValueError, match=r"can't plan a film of 0 frames .* at least 1 frame"):
        films.plan(0, frames=0)
    with pytest.raises(ValueError, match=r"size \(20, 128\).* sides of at least 64 pixels"):
        films.plan(0, frames=1, image_size=(20, 128))
