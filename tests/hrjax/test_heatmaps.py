"""Targets, decoding, flip test and training accuracy against the official HRNet's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import geometry
from data_pipelines.ops import DrawHeatmaps
from data_pipelines.skeletons import COCO, MPII
from hrjax import heatmaps

SIZES = {"192x256": ((64, 48), 2.0), "256x256": ((64, 64), 2.0), "288x384": ((96, 72), 3.0)}

decode = jax.jit(heatmaps.decode)
pck = jax.jit(heatmaps.pck)


def nhwk(recorded):
    """Recorded heatmaps (n, k, h, w) in our order, float32."""
    return np.moveaxis(recorded.astype(np.float32), 1, -1)


def encode(keypoints, visible, size=(64, 48), sigma=2.0):
    draw = jax.jit(heatmaps.encode, static_argnames=("size", "stride", "sigma"))
    return draw(jnp.array(keypoints), jnp.array(visible), size=size, stride=4, sigma=sigma)


def encode_one(x, y):
    maps, weights = encode([[[x, y]]], [[1.0]])
    return np.asarray(maps[0, ..., 0]), float(weights[0, 0])


@pytest.mark.parametrize("name", SIZES)
def test_targets_are_the_recorded_ones(golden, name):
    recorded = np.load(golden / "targets.npz")
    size, sigma = SIZES[name]
    maps, weights = encode(recorded[f"{name}_joints"], recorded[f"{name}_vis"], size, sigma)
    np.testing.assert_allclose(maps, nhwk(recorded[f"{name}_msra"]), atol=1e-6)
    np.testing.assert_array_equal(weights, recorded[f"{name}_msra_weight"])


def test_targets_are_those_of_the_numpy_op():
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(-30, 280, (1, 17, 2)).astype(np.float32)
    visible = rng.integers(0, 2, (1, 17)).astype(np.float32)
    example = {"image": np.zeros((256, 192, 3), np.uint8)}
    example |= {"keypoints": keypoints[0], "visible": visible[0]}
    drawn = DrawHeatmaps(stride=4, sigma=2.0)(example, rng)
    maps, weights = encode(keypoints, visible)
    np.testing.assert_allclose(maps[0], drawn["heatmaps"], atol=1e-6)
    np.testing.assert_array_equal(weights[0], drawn["weights"])


def test_a_target_is_a_square_of_13_cells_with_peak_1():
    target, weight = encode_one(80.0, 120.0)
    assert weight == 1
    assert target[30, 20] == 1
    assert np.count_nonzero(target) == 13 * 13
    np.testing.assert_allclose(target[30, 21], np.exp(-1 / 8), rtol=1e-6)


def test_peaks_are_rounded_towards_zero():
    # -1.5 cells + 0.5 = -1 and -1.2 + 0.5 = -0.7, which becomes 0 instead of -1.
    assert encode_one(-6.0, 40.0)[0][10, 0] == pytest.approx(np.exp(-1 / 8), rel=1e-6)
    assert encode_one(-4.8, 40.0)[0][10, 0] == 1


@pytest.mark.parametrize(
    ("x", "weight", "drawn"),
    [
        (4 * -6, 1, True),  # the peak in column -6 reaches column 0
        (4 * -7 - 2, 1, False),  # -7: nothing left to draw, and yet the reference keeps the weight
        (4 * -8 - 2, 0, False),
        (4 * 53, 1, True),  # 53 - 6 = 47, the last column
        (4 * 54, 0, False),
    ],
)
def test_joints_outside_lose_their_weight(x, weight, drawn):
    target, found = encode_one(float(x), 100.0)
    assert found == weight
    assert target.any() == drawn


def test_invisible_joints_have_no_target_wherever_they_are():
    maps, weights = encode([[[80.0, 80.0], [np.nan, np.inf]]], [[0.0, 0.0]])
    assert not np.any(maps)
    assert not np.any(weights)


def test_encode_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"got \(1, 3, 2\) and \(1, 2\)"):
        encode(np.zeros((1, 3, 2)), np.zeros((1, 2)))


@pytest.mark.parametrize("name", ["192x256", "256x256"])
def test_decoding_is_the_recorded_one(golden, name):
    recorded = np.load(golden / "decode.npz")
    cells, scores = decode(nhwk(recorded[f"{name}_heatmaps"]))
    np.testing.assert_array_equal(cells, recorded[f"{name}_quarter_hm"])
    np.testing.assert_array_equal(scores, recorded[f"{name}_maxval"])
    shift = np.abs(np.asarray(cells) - recorded[f"{name}_argmax"])
    assert set(np.unique(shift)) == {0.0, 0.25}


@pytest.mark.parametrize("name", SIZES)
def test_decoding_of_all_recorded_people_reaches_the_recorded_pixels(shared, name):
    recorded = np.load(shared / "reference/golden/decode.npz")
    cells, scores = decode(nhwk(recorded[f"{name}_heatmaps"]))
    np.testing.assert_array_equal(cells, recorded[f"{name}_quarter_hm"])
    np.testing.assert_array_equal(scores, recorded[f"{name}_maxval"])
    pixels = to_image(cells, recorded[f"{name}_center"], recorded[f"{name}_scale"], name)
    np.testing.assert_allclose(pixels, recorded[f"{name}_quarter_img"], atol=1e-3)


def test_to_image_undoes_the_crop(golden):
    recorded = np.load(golden / "decode.npz")
    for name in ("192x256", "256x256"):
        cells = recorded[f"{name}_quarter_hm"]
        pixels = to_image(cells, recorded[f"{name}_center"], recorded[f"{name}_scale"], name)
        np.testing.assert_allclose(pixels, recorded[f"{name}_quarter_img"], atol=1e-3)


def to_image(cells, center, scale, name):
    height, width = (4 * length for length in SIZES[name][0])
    matrices = [
        geometry.invert(geometry.crop_matrix(c, 200 * s[::-1], 0.0, (height, width)))
        for c, s in zip(center, scale, strict=True)
    ]
    return heatmaps.to_image(jnp.array(cells), 4, jnp.array(matrices, jnp.float32))


def test_decode_inverts_encode_to_half_a_cell():
    rng = np.random.default_rng(0)
    keypoints = rng.uniform((8, 8), (184, 248), (4, 17, 2))
    cells, scores = decode(encode(keypoints, np.ones((4, 17)))[0])
    # The target is rounded to a cell, so half a cell is the best possible.
    assert np.abs(np.asarray(cells) * 4 - keypoints).max() <= 2 + 1e-4
    np.testing.assert_array_equal(scores, 1)


def decode_one(values):
    cells, scores = decode(jnp.array(values, jnp.float32)[None, ..., None])
    return np.asarray(cells[0, 0]).tolist(), float(scores[0, 0])


def test_the_first_of_equal_maxima_wins():
    values = np.zeros((8, 6))
    values[2, 4] = values[2, 2] = values[5, 3] = 1
    assert decode_one(values) == ([2.0, 2.0], 1.0)


def test_nothing_positive_is_the_corner():
    assert decode_one(np.full((8, 6), -1.0)) == ([0.0, 0.0], -1.0)
    assert decode_one(np.zeros((8, 6))) == ([0.0, 0.0], 0.0)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (2, 2, [2.25, 1.75]),
        (1, 3, [1.0, 3.0]),  # column 1 is too near the border, on both axes
        (3, 1, [3.0, 1.0]),
        (4, 6, [4.25, 5.75]),  # the last column but one is not
        (5, 3, [5.0, 3.0]),
        (3, 7, [3.0, 7.0]),
    ],
)
def test_maxima_move_a_quarter_towards_higher_neighbours_inside_the_border(x, y, expected):
    column, row = np.meshgrid(np.arange(6), np.arange(8))
    # A peak whose true place is to the right of (x, y) and above it.
    values = 10 - np.hypot(column - x - 0.2, row - y + 0.2)
    assert decode_one(values)[0] == expected


def test_scores_of_broken_heatmaps_are_nan():
    assert np.isnan(decode_one(np.full((8, 6), np.nan))[1])


def test_decoding_bfloat16_gives_float32():
    cells, scores = decode(jnp.ones((1, 8, 6, 2), jnp.bfloat16))
    assert cells.dtype == scores.dtype == jnp.float32


def test_decode_names_the_shape_it_got():
    with pytest.raises(ValueError, match=r"\(n, h, w, k\); got \(8, 6, 2\)"):
        heatmaps.decode(jnp.ones((8, 6, 2)))


@pytest.mark.parametrize(("name", "skeleton"), [("coco", COCO), ("mpii", MPII)])
def test_flip_test_merges_as_recorded(golden, name, skeleton):
    recorded = np.load(golden / "flip_merge.npz")
    maps, mirrored = (
        nhwk(recorded[f"{name}_{key}"]) for key in ("heatmap", "heatmap_of_flipped_image")
    )
    plain = heatmaps.flip_back(mirrored, skeleton.flip_order, shift=False)
    np.testing.assert_array_equal(plain, nhwk(recorded[f"{name}_flipped_back"]))
    shifted = heatmaps.flip_back(jnp.array(mirrored), skeleton.flip_order)
    np.testing.assert_array_equal(shifted, nhwk(recorded[f"{name}_flipped_back_shifted"]))
    merged = 0.5 * (maps + shifted)
    np.testing.assert_array_equal(merged, nhwk(recorded[f"{name}_merged_shifted"]))


def test_flip_back_refuses_an_order_of_other_joints():
    with pytest.raises(ValueError, match=r"each of the 3 joints once; got \(0, 2, 2\)"):
        heatmaps.flip_back(jnp.ones((1, 4, 4, 3)), (0, 2, 2))


def test_to_image_moves_points_by_each_persons_matrix():
    matrices = jnp.array([[[2, 0, 5], [0, 3, 7]], [[0, 1, 0], [1, 0, 0]]], jnp.float32)
    cells = jnp.array([[[1.25, 2]], [[1, 2]]], jnp.float32)
    pixels = heatmaps.to_image(cells, 4, matrices)
    np.testing.assert_array_equal(pixels, [[[15, 31]], [[8, 4]]])


def test_to_image_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"got \(2, 17, 2\) and \(1, 2, 3\)"):
        heatmaps.to_image(jnp.ones((2, 17, 2)), 4, jnp.ones((1, 2, 3)))


def gaussians(centers):
    column, row = np.meshgrid(np.arange(48), np.arange(64))
    x, y = np.moveaxis(centers[..., None, None], 2, 0)
    return nhwk(np.exp(-((column - x) ** 2 + (row - y) ** 2) / 8))


def test_training_accuracy_is_the_recorded_one(golden):
    recorded = np.load(golden / "loss_accuracy.npz")
    visible = recorded["pck_vis"].astype(np.float32)
    found = gaussians(recorded["pck_pred_centers"])
    targets = gaussians(recorded["pck_gt_centers"]) * visible[:, None, None]
    accuracy = pck(found, targets, visible)
    np.testing.assert_allclose(accuracy, recorded["pck_official_avg"], rtol=1e-6)


def test_training_accuracy_averages_over_the_joints_that_are_there():
    # Joint 0 is found in one of two people, joint 1 in the only one who shows it, joint 2 in none.
    targets = gaussians(np.full((2, 3, 2), 20.0))
    found = gaussians(np.array([[[20, 20], [22, 20], [9, 9]], [[30, 20], [9, 9], [9, 9]]], float))
    weights = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    assert float(pck(found, targets, weights)) == pytest.approx((0.5 + 1) / 2)
    assert float(pck(found, targets, 0 * weights)) == 0


def test_training_accuracy_names_the_shapes_it_got():
    maps = jnp.ones((2, 8, 6, 3))
    with pytest.raises(ValueError, match=r"got \(2, 8, 6, 3\), \(2, 8, 6, 3\) and \(3, 2\)"):
        heatmaps.pck(maps, maps, jnp.ones((3, 2)))
