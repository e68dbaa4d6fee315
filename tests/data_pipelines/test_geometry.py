"""Boxes and matrices against numbers recorded from the official HRNet."""

import numpy as np
import pytest

from data_pipelines import geometry

SIZES = ((256, 192), (256, 256), (384, 288))


def _named(size):
    return f"{size[1]}x{size[0]}"


def _size(scale):
    """The references' scale, (w, h) / 200, as our (height, width)."""
    return np.asarray(scale, np.float64)[..., ::-1] * 200


@pytest.fixture(scope="module")
def boxes(golden):
    return np.load(golden / "bbox_center_scale.npz")


@pytest.fixture(scope="module")
def affine(golden):
    return np.load(golden / "affine.npz")


def test_annotated_boxes_are_clipped_as_by_the_references(boxes):
    clipped = geometry.clip_boxes(boxes["box_xywh"], boxes["image_wh"][:, ::-1])
    # The golden's mm0_valid is the strict rule of mmpose, off_valid the official one, which lets
    # boxes without width or height through.
    np.testing.assert_array_equal((clipped[:, 2:] > 0).all(axis=1), boxes["mm0_valid"])
    kept = boxes["off_valid"]
    np.testing.assert_allclose(clipped[kept], boxes["clean_box"][kept], rtol=1e-12)


@pytest.mark.parametrize("input_size", SIZES, ids=_named)
@pytest.mark.parametrize("kind", ["off", "off_det"])
def test_center_and_size_are_the_official_ones(boxes, input_size, kind):
    raw = boxes["box_xywh"]
    if kind == "off":
        raw = geometry.clip_boxes(raw, boxes["image_wh"][:, ::-1])
    center, size = geometry.box_center_size(raw)
    size = geometry.fit_aspect(size, input_size)
    # The reference does not pad a box whose center lies at x == -1, its mark for "unknown" that
    # one detector box of the golden hits by chance.
    kept = boxes["off_valid"] & (center[:, 0] != -1)
    name = _named(input_size)
    np.testing.assert_allclose(center[kept], boxes[f"{kind}_center_{name}"][kept], rtol=1e-5)
    np.testing.assert_allclose(size[kept], _size(boxes[f"{kind}_scale_{name}"])[kept], rtol=1e-5)


def test_mpii_centers_and_sizes_are_the_official_ones(boxes):
    center, size = geometry.mpii_center_size(boxes["mpii_raw_center"], boxes["mpii_raw_scale"])
    np.testing.assert_allclose(center, boxes["mpii_off_center"], rtol=1e-12)
    np.testing.assert_allclose(size, _size(boxes["mpii_off_scale"]), rtol=1e-12)


@pytest.mark.parametrize("input_size", SIZES, ids=_named)
def test_center_and_size_of_a_box_are_those_of_mmpose_1(boxes, input_size):
    # mmpose 1.x cuts the corners of a box to the image's last pixel; from there on it agrees.
    last = boxes["image_wh"] - 1
    near, extent = boxes["box_xywh"][:, :2], boxes["box_xywh"][:, 2:]
    corners = np.clip(near, 0, last), np.clip(near + extent, 0, last)
    box = np.concatenate([corners[0], corners[1] - corners[0]], axis=1)
    kept = boxes["mm1_valid"]
    np.testing.assert_array_equal((box[:, 2:] > 0).all(axis=1), kept)
    center, size = geometry.box_center_size(box)
    padded, name = boxes["mm1_scale_px_before_fix"][kept], _named(input_size)
    np.testing.assert_allclose(size[kept, ::-1], padded, rtol=1e-5)
    size = geometry.fit_aspect(size, input_size)[kept, ::-1]
    np.testing.assert_allclose(center[kept], boxes[f"mm1_center_{name}"][kept], rtol=1e-5)
    np.testing.assert_allclose(size, boxes[f"mm1_scale_px_{name}"][kept], rtol=1e-5)


def test_mpii_centers_and_sizes_are_those_of_mmpose_1(boxes):
    center, size = geometry.mpii_center_size(boxes["mpii_raw_center"], boxes["mpii_raw_scale"])
    np.testing.assert_allclose(center, boxes["mpii_mm1_center"], rtol=1e-5)
    # mmpose 1.x pads even where there is no center, which the official HRNet does not.
    padding = np.where(boxes["mpii_raw_center"][:, :1] == -1, geometry.BOX_PADDING, 1)
    np.testing.assert_allclose(size * padding, boxes["mpii_mm1_scale_px"], rtol=1e-5)


@pytest.mark.parametrize("input_size", SIZES, ids=_named)
def test_crop_matrix_is_the_official_one(affine, input_size):
    name = _named(input_size)
    sizes = _size(affine[f"scale_{name}"])
    ours = np.array(
        [
            geometry.crop_matrix(center, size, rotation, input_size)
            for center, size, rotation in zip(affine["center"], sizes, affine["rot"], strict=True)
        ]
    )
    classic = affine[f"classic_{name}"]
    np.testing.assert_allclose(ours[..., :2], classic[..., :2], atol=1e-5)
    # The reference solves three float32 point pairs: tiny boxes lose digits in the translation.
    np.testing.assert_allclose(ours[..., 2], classic[..., 2], atol=1e-2)
    inverse = np.array([geometry.invert(matrix) for matrix in ours])
    np.testing.assert_allclose(inverse, affine[f"classic_inv_{name}"], atol=1e-4)
    for matrix, points, moved in zip(
        ours, affine[f"points_{name}"], affine[f"points_classic_{name}"], strict=True
    ):
        np.testing.assert_allclose(geometry.transform(points, matrix), moved, atol=1e-2)


@pytest.mark.parametrize("input_size", SIZES, ids=_named)
def test_udp_crop_matrix_is_that_of_mmpose(affine, input_size):
    name = _named(input_size)
    sizes = _size(affine[f"scale_{name}"])
    for row in range(len(sizes)):
        center, rotation = affine["center"][row], affine["rot"][row]
        matrix = geometry.crop_matrix(center, sizes[row], rotation, input_size, udp=True)
        np.testing.assert_allclose(matrix, affine[f"udp_{name}"][row], rtol=1e-5, atol=1e-3)
        moved = geometry.transform(affine[f"points_{name}"][row], matrix)
        np.testing.assert_allclose(moved, affine[f"points_udp_{name}"][row], atol=2e-2)


def test_crop_matrix_puts_the_box_on_the_input():
    matrix = geometry.crop_matrix(np.array([100.0, 50.0]), np.array([80.0, 60.0]), 0, (256, 192))
    corners = np.array([[70.0, 10.0], [130.0, 90.0]])
    np.testing.assert_allclose(geometry.transform(corners, matrix), [[0, 0], [192, 256]])


def test_fit_aspect_grows_the_shorter_side():
    sizes = np.array([[100.0, 150.0], [400.0, 150.0], [200.0, 150.0]])
    fitted = geometry.fit_aspect(sizes, (256, 192))
    np.testing.assert_allclose(fitted, [[200, 150], [400, 300], [200, 150]])


@pytest.mark.parametrize("input_size", SIZES, ids=_named)
@pytest.mark.parametrize("kind", ["classic", "classic_linear", "udp"])
def test_cells_go_back_to_where_the_references_put_them(affine, input_size, kind):
    name = _named(input_size)
    sizes = _size(affine[f"scale_{name}"])
    udp = kind == "udp"
    for row, size in enumerate(sizes):
        matrix = geometry.crop_matrix(affine["center"][row], size, 0, input_size, udp=udp)
        pixels = np.array(input_size[::-1])
        stride = (pixels - 1) / (pixels // 4 - 1) if udp else 4
        points = affine[f"heatmap_points_{name}"][row] * stride
        ours = geometry.transform(points, geometry.invert(matrix))
        np.testing.assert_allclose(ours, affine[f"preds_{kind}_{name}"][row], rtol=1e-5, atol=1e-2)
