"""Boxes without a file: the whole image, or given on the command line."""

import numpy as np
import pytest

from hrjax.prediction import boxes
from hrjax.prediction.media import Frame

FRAME = Frame("a.jpg", 1, np.zeros((60, 80, 3), np.uint8))


def test_the_whole_image_is_one_box():
    found, scores = boxes.whole_image(FRAME)
    np.testing.assert_array_equal(found, [(0, 0, 80, 60)])
    np.testing.assert_array_equal(scores, [1])


def test_fixed_boxes_are_the_same_in_every_frame():
    find = boxes.fixed_boxes(["1,2,3,4", "5.5,6,7,8"])
    np.testing.assert_array_equal(find(FRAME)[0], [(1, 2, 3, 4), (5.5, 6, 7, 8)])


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "detections.txt"])
def test_text_that_is_not_a_box_shows_how_to_write_one(text):
    with pytest.raises(ValueError, match=rf"a box is x,y,w,h in pixels, e\.g\. .*got '{text}'"):
        boxes.fixed_boxes([text])
