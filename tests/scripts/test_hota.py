"""HOTA by hand, and by the properties that its paper proves."""

import numpy as np
import pytest

from benchmarks.hota import Frame, hota


def frames(*ids, alike=1.0):
    """Frames of one person, the first id the true one; None where no track is there."""
    return [
        Frame(
            np.array([1]),
            np.array([] if track is None else [track], int),
            np.full((1, int(track is not None)), alike),
        )
        for track in ids
    ]


def test_a_person_who_is_followed_throughout_scores_one():
    numbers = hota([frames(5, 5, 5)])
    assert numbers == {"hota": 1, "deta": 1, "assa": 1, "loca": 1}


def test_an_id_that_changes_halfway_halves_the_association():
    # Each of both tracks has 2 of the person's 4 frames: A(c) is 2 / (4 + 2 - 2).
    numbers = hota([frames(5, 5, 7, 7)])
    assert numbers["deta"] == 1
    assert numbers["assa"] == pytest.approx(0.5)
    assert numbers["hota"] == pytest.approx(np.sqrt(0.5))


def test_an_uneven_change_is_weighted_by_frames():
    # 3 frames with A(c) = 3/4, and 1 with 1/4.
    numbers = hota([frames(5, 5, 5, 7)])
    assert numbers["assa"] == pytest.approx((3 * 3 / 4 + 1 / 4) / 4)


def test_a_missed_frame_costs_detection_and_association():
    numbers = hota([frames(5, None, 5, 5)])
    assert numbers["deta"] == pytest.approx(3 / 4)
    assert numbers["assa"] == pytest.approx(3 / 4)
    assert numbers["hota"] == pytest.approx(3 / 4)


def test_a_detection_counts_up_to_its_similarity():
    # Alike by 0.5: a match at 10 of the 19 thresholds, from 0.05 to 0.5.
    numbers = hota([frames(5, 5, alike=0.5)])
    assert numbers["deta"] == pytest.approx(10 / 19)
    assert numbers["hota"] == pytest.approx(10 / 19)
    assert numbers["loca"] == pytest.approx((10 * 0.5 + 9) / 19)


def test_two_people_who_exchange_ids_are_matched_by_place():
    similarity = np.array([[1, 0.2], [0.2, 1]])
    ids = [np.array([5, 7])] * 3 + [np.array([7, 5])] * 3
    swapped = [Frame(np.array([1, 2]), each, similarity) for each in ids]
    numbers = hota([swapped])
    assert numbers["deta"] == 1
    assert numbers["assa"] == pytest.approx(3 / 9)


def test_films_are_weighted_by_their_matches():
    # Six matches with A(c) = 1, and two with 1/2 each; ids of different films are not the same.
    numbers = hota([frames(*6 * [5]), frames(5, 6)])
    assert numbers["assa"] == pytest.approx((6 * 1 + 2 * 1 / 2) / 8)


def test_films_without_people_or_tracks():
    empty = Frame(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 0)))
    ghost = Frame(np.zeros(0, int), np.array([3]), np.zeros((0, 1)))
    assert hota([frames(None, None)])["hota"] == 0
    assert hota([[empty, ghost]])["deta"] == 0
    assert hota([frames(5, 5), [ghost, empty, ghost]])["deta"] == pytest.approx(2 / 4)
