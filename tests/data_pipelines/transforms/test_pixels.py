"""What changes the pixels of a crop and nothing else."""

import numpy as np
import pytest

from data_pipelines.transforms import pixels

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)


def _example(image=IMAGE):
    return {"image": image, "keypoints": np.ones((17, 2), np.float32)}


class Fixed:
    """Stands in for a Generator: gives the same uniform draws."""

    def __init__(self, *draws):
        self.draws = draws

    def random(self, size):
        assert size == len(self.draws)
        return np.array(self.draws)


@pytest.mark.parametrize(
    "op", [pixels.ColorJitter(0.4, 0.1), pixels.Blur(1.0), pixels.CoarseDropout(1.0)]
)
def test_only_the_crop_changes_and_the_given_one_stays(op):
    before = IMAGE.copy()
    changed = op(_example(), np.random.default_rng(1))
    assert changed["image"].shape == IMAGE.shape
    assert changed["image"].dtype == np.uint8
    assert (changed["image"] != IMAGE).any()
    assert changed["keypoints"].all()
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize("op", [pixels.Blur(0.5), pixels.CoarseDropout(0.5)])
def test_probability_decides(op):
    example = _example()
    count = 2 if isinstance(op, pixels.Blur) else 5
    assert op(example, Fixed(0.5, *[0.3] * (count - 1))) is example
    assert op(example, Fixed(0.49, *[0.3] * (count - 1))) is not example


def test_brightness_contrast_and_saturation_are_what_they_say():
    half = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    brighter = pixels.ColorJitter(0.2, 0.0)(_example(half), Fixed(1.0, 0.5, 0.5, 0.5))["image"]
    np.testing.assert_array_equal(brighter[0, 0], [240, 120, 60])
    gray = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    pale = pixels.ColorJitter(1.0, 0.0)(_example(half), Fixed(0.5, 0.5, 0.0, 0.5))["image"]
    np.testing.assert_array_equal(pale[0, 0], [round(gray)] * 3)
    flat = pixels.ColorJitter(1.0, 0.0)(_example(IMAGE), Fixed(0.5, 0.0, 0.5, 0.5))["image"]
    np.testing.assert_array_equal(flat, round(float((IMAGE @ pixels.GRAY).mean())))


def test_a_third_of_the_color_circle_turns_red_to_green():
    red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    turned = pixels.ColorJitter(0.0, 1 / 3)(_example(red), Fixed(0.5, 0.5, 0.5, 1.0))["image"]
    np.testing.assert_allclose(turned[0, 0], [0, 255, 0], atol=8)


def test_dropout_blacks_out_a_rectangle_of_the_asked_size():
    white = np.full((100, 50, 3), 255, np.uint8)
    image = pixels.CoarseDropout(1.0)(_example(white), Fixed(0.0, 0.5, 0.0, 1.0, 0.0))["image"]
    rows, columns = np.nonzero((image == 0).all(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (70, 99, 0, 9)
    assert len(rows) == 30 * 10
