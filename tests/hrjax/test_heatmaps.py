"""Targets, decoding, flip test and training accuracy against the official HRNet's numbers."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import geometry
from data_pipelines.skeletons import COCO, MPII
from hrjax import heatmaps

SIZES = {"192x256": ((64, 48), 2.0), "256x256": ((64, 64), 2.0), "288x384": ((96, 72), 3.0)}

decode = jax.jit(heatmaps.decode, static_argnames=("method", "kernel"))


@jax.jit
def pck(maps, targets, weights):
    return heatmaps.pck(*heatmaps.pck_counts(maps, targets, weights))


def nhwk(recorded):
    """Recorded heatmaps (n, k, h, w) in our order, float32."""
    return np.moveaxis(recorded.astype(np.float32), 1, -1)


def encode(keypoints, visible, size=(64, 48), sigma=2.0, encoding="msra"):
    draw = jax.jit(heatmaps.encode, static_argnames=("size", "stride", "sigma", "encoding"))
    options = {"size": size, "stride": 4, "sigma": sigma, "encoding": encoding}
    return draw(jnp.array(keypoints, jnp.float32), jnp.array(visible, jnp.float32), **options)


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


@pytest.mark.parametrize(
    ("encoding", "joints"), [("dark", slice(5)), ("udp", slice(None, None, 2))]
)
def test_unrounded_targets_are_those_of_mmpose(golden, encoding, joints):
    recorded = np.load(golden / "targets.npz")
    keypoints, visible = recorded["192x256_joints"], recorded["192x256_vis"]
    maps, weights = encode(keypoints, visible, encoding=encoding)
    expected = nhwk(recorded[f"192x256_{encoding}"])
    np.testing.assert_allclose(maps[..., joints], expected, atol=1e-5)
    np.testing.assert_array_equal(weights, recorded[f"192x256_{encoding}_weight"])


def test_an_unknown_encoding_lists_the_choices():
    with pytest.raises(ValueError, match="unknown encoding 'unbiased'; choose one of: msra, dark"):
        heatmaps.encode(
            jnp.ones((1, 1, 2)),
            jnp.ones((1, 1)),
            size=(4, 4),
            stride=4,
            sigma=2.0,
            encoding="unbiased",
        )


@pytest.mark.parametrize("encoding", ["dark", "udp"])
@pytest.mark.parametrize("name", SIZES)
def test_unrounded_targets_are_those_of_mmpose_at_every_size(shared, name, encoding):
    recorded = np.load(shared / "reference" / "golden" / "targets.npz")
    size, sigma = SIZES[name]
    expected = nhwk(recorded[f"{name}_{encoding}"])
    count, joints = len(expected), expected.shape[-1]  # some record five joints only
    people = (recorded[f"{name}_{key}"][:count] for key in ("joints", "vis"))
    maps, weights = encode(*people, size, sigma, encoding)
    np.testing.assert_allclose(maps[..., :joints], expected, atol=1e-5)
    expected_weights = recorded[f"{name}_{encoding}_weight"][:, :joints]
    np.testing.assert_array_equal(weights[:, :joints], expected_weights)


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
    target, actual = encode_one(float(x), 100.0)
    assert actual == weight
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


METHODS = {"dark": "mm0_dark", "udp": "mm0_udp", "paddle_dark": "paddle_dark"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["192x256", "256x256"])
def test_newton_steps_are_the_recorded_ones(golden, name, method):
    check_newton_steps(np.load(golden / "decode.npz"), name, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SIZES)
def test_newton_steps_of_all_recorded_people(shared, name, method):
    check_newton_steps(np.load(shared / "reference/golden/decode.npz"), name, method)


def check_newton_steps(recorded, name, method):
    kernel = heatmaps.dark_kernel(SIZES[name][1])
    cells, scores = decode(nhwk(recorded[f"{name}_heatmaps"]), method, kernel=kernel)
    counted = ~recorded[f"{name}_nonpositive"]
    expected = recorded[f"{name}_{METHODS[method]}_hm"]
    np.testing.assert_allclose(cells[counted], expected[counted], atol=1e-4)
    np.testing.assert_array_equal(scores, recorded[f"{name}_maxval"])
    moved = np.abs(expected - recorded[f"{name}_argmax"])[counted]
    assert moved.max() > 0.3  # there is something to get right
    np.testing.assert_array_equal(np.asarray(cells)[~counted], 0)


def image_pixels(recorded, name, method, udp=False):
    """Recorded heatmaps decoded into pixels of the image."""
    size, sigma = SIZES[name]
    options = {"kernel": heatmaps.dark_kernel(sigma)}
    cells, _ = decode(nhwk(recorded[f"{name}_heatmaps"]), method, **options)
    input_size = tuple(4 * length for length in size)
    matrices = [
        geometry.invert(geometry.crop_matrix(c, 200 * s[::-1], 0.0, input_size, udp=udp))
        for c, s in zip(recorded[f"{name}_center"], recorded[f"{name}_scale"], strict=True)
    ]
    strides = heatmaps.strides(size, 4, udp=udp)
    return np.asarray(heatmaps.to_image(cells, strides, jnp.array(matrices, jnp.float32)))


# Pixels of the image; a Newton step's 2e-3 cells are up to 2e-2 of them.
@pytest.mark.parametrize(
    ("method", "reference", "tolerance"),
    [
        ("argmax", "argmax", 1e-3),
        ("quarter", "mm0_default", 1e-3),
        ("dark", "mm0_dark", 2e-2),
        ("dark", "mm1_dark", 2e-2),
        ("paddle_dark", "paddle_dark", 2e-2),
        ("udp", "mm0_udp", 2e-2),
    ],
)
@pytest.mark.parametrize("name", SIZES)
def test_every_decoding_reaches_the_recorded_pixels(shared, name, method, reference, tolerance):
    recorded = np.load(shared / "reference/golden/decode.npz")
    counted = ~recorded[f"{name}_nonpositive"]
    actual = image_pixels(recorded, name, method, udp=method == "udp")
    expected = recorded[f"{name}_{reference}_img"]
    np.testing.assert_allclose(actual[counted], expected[counted], atol=tolerance)


@pytest.mark.parametrize(("method", "reference"), [("quarter", "mm1_msra"), ("udp", "mm1_udp")])
@pytest.mark.parametrize("name", SIZES)
def test_mmpose_1_differs_only_at_borders(shared, name, method, reference):
    folder = shared / "reference/golden"
    recorded = np.load(folder / "decode.npz")
    comparison = json.loads((folder / "decode.json").read_text())["comparison"][name]
    counted = ~recorded[f"{name}_nonpositive"]
    for person, joint, *_ in comparison[f"where_{reference}_differs"]:
        counted[person, joint] = False
    actual = image_pixels(recorded, name, method, udp=method == "udp")
    expected = recorded[f"{name}_{reference}_img"]
    np.testing.assert_allclose(actual[counted], expected[counted], atol=2e-2)


@pytest.mark.parametrize("name", SIZES)
def test_the_blur_before_the_step_is_the_recorded_one(shared, name):
    recorded = np.load(shared / "reference/golden/decode.npz")
    maps = nhwk(recorded[f"{name}_heatmaps"])[:1, ..., 13:14]
    kernel = heatmaps.dark_kernel(SIZES[name][1])
    blurred = np.asarray(heatmaps._blur(jnp.array(maps), kernel, reflect=False))
    blurred = blurred * maps.max() / blurred.max()
    expected = recorded[f"{name}_dark_modulated_joint13"]
    np.testing.assert_allclose(blurred[0, ..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["192x256", "256x256"])
def test_udp_reaches_the_recorded_pixels(golden, name):
    recorded = np.load(golden / "decode.npz")
    size = SIZES[name][0]
    input_size = tuple(4 * length for length in size)
    matrices = [
        geometry.invert(geometry.crop_matrix(c, 200 * s[::-1], 0.0, input_size, udp=True))
        for c, s in zip(recorded[f"{name}_center"], recorded[f"{name}_scale"], strict=True)
    ]
    cells = jnp.array(recorded[f"{name}_mm0_udp_hm"])
    strides = heatmaps.strides(size, 4, udp=True)
    pixels = heatmaps.to_image(cells, strides, jnp.array(matrices, jnp.float32))
    np.testing.assert_allclose(pixels, recorded[f"{name}_mm0_udp_img"], atol=1e-2)


@pytest.mark.parametrize(("encoding", "method"), [("dark", "dark"), ("udp", "udp")])
def test_a_newton_step_finds_the_place_of_an_unrounded_joint(encoding, method):
    keypoints = np.random.default_rng(0).uniform((24, 24), (168, 232), (2, 17, 2))
    maps, _ = encode(keypoints, np.ones((2, 17)), encoding=encoding)
    cells, _ = decode(maps, method)
    actual = cells * heatmaps.strides((64, 48), 4, udp=encoding == "udp")
    np.testing.assert_allclose(actual, keypoints, atol=0.1)


def test_the_kernel_grows_with_sigma():
    assert [heatmaps.dark_kernel(sigma) for sigma in (1.5, 2, 3, 4)] == [9, 11, 17, 23]


@pytest.mark.parametrize("kernel", [3, 5, 7, 9, 11, 17])
@pytest.mark.parametrize("reflect", [False, True])
def test_blurs_are_those_of_opencv(kernel, reflect):
    image = np.random.default_rng(0).standard_normal((20, 24)).astype(np.float32)
    border = cv2.BORDER_REFLECT_101 if reflect else cv2.BORDER_CONSTANT
    padded = cv2.copyMakeBorder(image, *[kernel] * 4, border, value=0)
    expected = cv2.GaussianBlur(padded, (kernel, kernel), 0)[kernel:-kernel, kernel:-kernel]
    blurred = heatmaps._blur(jnp.array(image)[None, ..., None], kernel, reflect=reflect)
    np.testing.assert_allclose(blurred[0, ..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("method", heatmaps.DECODERS)
def test_flat_heatmaps_have_a_finite_place(method):
    for height in (0.0, 1.0, -1.0):
        cells, _ = decode(jnp.full((1, 16, 12, 1), height), method)
        assert np.isfinite(cells).all()


def test_an_unknown_decoding_lists_the_choices():
    with pytest.raises(ValueError, match="unknown decoding 'taylor'; choose one of: argmax, quart"):
        heatmaps.decode(jnp.ones((1, 8, 8, 1)), "taylor")


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


@pytest.mark.parametrize(("stride", "size"), [(4, (64, 48)), (2, (128, 96))])
@pytest.mark.parametrize("encoding", heatmaps.ENCODINGS)
def test_heatmaps_of_every_stride_lead_back_to_the_joints(stride, size, encoding):
    keypoints = jnp.array(np.random.default_rng(0).uniform((16, 16), (176, 240), (1, 5, 2)))
    options = {"size": size, "stride": stride, "sigma": 2.0, "encoding": encoding}
    maps, _ = heatmaps.encode(keypoints, jnp.ones((1, 5)), **options)
    cells, _ = heatmaps.decode(maps, "argmax")
    whole = jnp.eye(2, 3)[None]
    strides = heatmaps.strides(size, stride, udp=encoding == "udp")
    actual = heatmaps.to_image(cells, strides, whole)
    assert np.abs(np.asarray(actual - keypoints)).max() <= stride / 2 + 0.02


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
def test_maxima_move_a_quarter_toward_higher_neighbors_inside_the_border(x, y, expected):
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


CROWDPOSE_FLIP_ORDER = (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13)
FLIP_ORDERS = {"coco": COCO.flip_order, "mpii": MPII.flip_order, "crowdpose": CROWDPOSE_FLIP_ORDER}


@pytest.mark.parametrize("name", FLIP_ORDERS)
def test_flip_test_merges_as_recorded(golden, name):
    check_flip_test(np.load(golden / "flip_merge.npz"), name)


@pytest.mark.parametrize("name", FLIP_ORDERS)
def test_flip_test_merges_as_recorded_with_and_without_the_shift(shared, name):
    recorded = np.load(shared / "reference/golden/flip_merge.npz")
    maps, plain = check_flip_test(recorded, name)
    np.testing.assert_array_equal(0.5 * (maps + plain), nhwk(recorded[f"{name}_merged"]))


def check_flip_test(recorded, name):
    maps, mirrored = (
        nhwk(recorded[f"{name}_{key}"]) for key in ("heatmap", "heatmap_of_flipped_image")
    )
    plain = heatmaps.flip_back(mirrored, FLIP_ORDERS[name], shift=False)
    np.testing.assert_array_equal(plain, nhwk(recorded[f"{name}_flipped_back"]))
    shifted = heatmaps.flip_back(jnp.array(mirrored), FLIP_ORDERS[name])
    np.testing.assert_array_equal(shifted, nhwk(recorded[f"{name}_flipped_back_shifted"]))
    merged = nhwk(recorded[f"{name}_merged_shifted"])
    np.testing.assert_array_equal(0.5 * (maps + shifted), merged)
    return maps, plain


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
    actual = gaussians(recorded["pck_pred_centers"])
    targets = gaussians(recorded["pck_gt_centers"]) * visible[:, None, None]
    accuracy = pck(actual, targets, visible)
    np.testing.assert_allclose(accuracy, recorded["pck_official_avg"], rtol=1e-6)


def test_training_accuracy_averages_over_the_joints_that_are_there():
    # Joint 0 is right in one of two people, joint 1 in the only one that has it, joint 2 in none.
    targets = gaussians(np.full((2, 3, 2), 20.0))
    actual = gaussians(np.array([[[20, 20], [22, 20], [9, 9]], [[30, 20], [9, 9], [9, 9]]], float))
    weights = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    assert float(pck(actual, targets, weights)) == pytest.approx((0.5 + 1) / 2)
    assert float(pck(actual, targets, 0 * weights)) == 0


def test_training_accuracy_names_the_shapes_it_got():
    maps = jnp.ones((2, 8, 6, 3))
    with pytest.raises(ValueError, match=r"got \(2, 8, 6, 3\), \(2, 8, 6, 3\) and \(3, 2\)"):
        heatmaps.pck_counts(maps, maps, jnp.ones((3, 2)))
