"""Ops against training samples recorded from the references, with scripted random draws."""

import logging

import cv2
import jax.numpy as jnp
import numpy as np
import pictures
import pytest

from data_pipelines import geometry, images
from data_pipelines.skeletons import COCO, CROWDPOSE, MPII
from data_pipelines.transforms import ops
from hrjax import heatmaps


class Script:
    """Stands in for a Generator: every draw is the next number of a list."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self, size=None):
        if size is None:
            return self.numbers.pop(0)
        return np.array([self.numbers.pop(0) for _ in range(size)])

    standard_normal = random


def _example(image=None, keypoints=None, visible=None, **changes):
    example = {
        "image": np.zeros((40, 60, 3), np.uint8) if image is None else image,
        "center": np.array([30, 20], np.float32),
        "size": np.array([20, 15], np.float32),
        "keypoints": np.zeros((17, 2), np.float32) if keypoints is None else keypoints,
        "visible": np.ones(17, np.float32) if visible is None else visible,
    }
    return {**example, **changes}


def _jpeg(path, image):
    path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    return str(path)


# --- Decode


def _encoded_with_orientation(image):
    """A JPEG whose EXIF block asks for a quarter turn."""
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = b"MM\x00*\x00\x00\x00\x08" + b"\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\x00\x00" + tiff + b"\x00\x00\x00\x00"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def test_decode_gives_rgb(tmp_path):
    red = np.zeros((16, 24, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    path = _jpeg(tmp_path / "red.jpg", red)
    example = ops.Decode(strict=True)(_example(image_path=path), None)
    assert example["image"].shape == (16, 24, 3)
    np.testing.assert_allclose(example["image"].mean(axis=(0, 1)), [254, 0, 0], atol=1)
    assert example["readable"]


def test_decode_gives_three_channels_for_gray_images(tmp_path):
    path = _jpeg(tmp_path / "gray.jpg", np.full((8, 8), 77, np.uint8))
    image = images.read_image(path)
    assert image.shape == (8, 8, 3)
    np.testing.assert_array_equal(image, 77)


def test_decode_leaves_the_stored_orientation(tmp_path):
    path = tmp_path / "turned.jpg"
    path.write_bytes(_encoded_with_orientation(np.zeros((8, 24, 3), np.uint8)))
    assert cv2.imread(str(path)).shape == (24, 8, 3)  # what following the tag would give
    assert images.read_image(str(path)).shape == (8, 24, 3)


def test_an_image_stored_sideways_is_turned_to_its_stated_size(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(ops, "_WARNED", set())
    stored = np.zeros((8, 24, 3), np.uint8)
    stored[:, :8] = 255
    (tmp_path / "turned.jpg").write_bytes(_encoded_with_orientation(stored))
    example = _example(image_path=str(tmp_path / "turned.jpg"))
    decode = ops.Decode(strict=True)
    upright = decode({**example, "image_size": np.array([24, 8], np.float32)}, None)
    assert upright["turned"]
    assert upright["image"].shape == (24, 8, 3)
    assert upright["image"][:6].min() > 200  # the left of the stored image is its top
    assert "turned.jpg is stored sideways, and its EXIF orientation" in caplog.text
    for size in ([8, 24], [9, 9], None):
        stated = {} if size is None else {"image_size": np.array(size, np.float32)}
        kept = decode({**example, **stated}, None)
        assert not kept["turned"]
        assert kept["image"].shape == (8, 24, 3)
    assert len(caplog.records) == 1


def test_an_image_without_orientation_is_not_turned(tmp_path):
    path = _jpeg(tmp_path / "wide.jpg", np.zeros((8, 24, 3), np.uint8))
    example = _example(image_path=path, image_size=np.array([24, 8], np.float32))
    decoded = ops.Decode(strict=True)(example, None)
    assert decoded["image"].shape == (8, 24, 3)
    assert not decoded["turned"]


@pytest.mark.parametrize("sampling", [0x411111, 0x211111, 0x221111, 0x121111, 0x111111])
@pytest.mark.parametrize("progressive", [0, 1])
def test_jpegs_of_all_kinds_have_the_pixels_that_opencv_gives(sampling, progressive):
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    options += [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_QUALITY, 90]
    data = cv2.imencode(".jpg", image, options)[1]
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(images.decode(data.tobytes(), "a.jpg"), expected)


def test_real_jpegs_have_the_pixels_that_opencv_gives(shared):
    for path in sorted((shared / "samples").glob("*/images/*.jpg")):
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(images.read_image(str(path)), expected)


def _broken_files(folder):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_bytes(b"<html>not found</html>")
    (folder / "empty.jpg").write_bytes(b"")


BROKEN = {
    "cut.jpg": "the JPEG is cut off",
    "text.jpg": "22 bytes that are not an image",
    "empty.jpg": "0 bytes that are not an image",
    "absent.jpg": "No such file or directory",
}


@pytest.mark.parametrize("name", BROKEN)
def test_strict_decode_names_the_file_and_the_reason(tmp_path, name):
    _broken_files(tmp_path)
    example = _example(image_path=str(tmp_path / name))
    with pytest.raises(ValueError, match=f"{name}: {BROKEN[name]}"):
        ops.Decode(strict=True)(example, None)


@pytest.mark.parametrize("name", BROKEN)
def test_lenient_decode_hides_the_person_and_warns_once(tmp_path, caplog, name):
    _broken_files(tmp_path)
    example = _example(image_path=str(tmp_path / name))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            decoded = ops.Decode(strict=False)(example, None)
    cropped = ops.Crop((16, 12))(decoded, None)
    assert not decoded["readable"]
    assert not decoded["visible"].any()
    assert example["visible"].all()  # the given example is left alone
    assert cropped["image"].shape == (16, 12, 3)
    assert not cropped["image"].any()
    assert [BROKEN[name] in record.message for record in caplog.records] == [True]


# --- RandomFlip, ShiftCenter, HalfBody


def test_flip_mirrors_pixels_joints_and_box_and_exchanges_sides():
    image = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    keypoints = np.stack([np.arange(17), np.arange(17) * 2], -1).astype(np.float32)
    visible = (np.arange(17) != COCO.names.index("left_wrist")).astype(np.float32)
    example = _example(image, keypoints, visible, center=np.array([1.5, 1], np.float32))
    flipped = ops.RandomFlip(COCO.flip_order, 0.5)(example, Script(0.5))
    np.testing.assert_array_equal(flipped["image"], image[:, ::-1])
    np.testing.assert_allclose(flipped["center"], [2.5, 1])
    left, right = COCO.names.index("left_wrist"), COCO.names.index("right_wrist")
    np.testing.assert_allclose(flipped["keypoints"][left], [4 - right, 2 * right])
    assert flipped["visible"][left] == 1
    assert flipped["visible"][right] == 0


@pytest.mark.parametrize("udp", [False, True])
def test_a_crop_of_a_mirrored_view_is_the_crop_of_the_mirrored_image(udp):
    rng = np.random.default_rng(0)
    view = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)[:, ::-1]
    options = {"scale": 0.25, "rotation": 40, "rotation_probability": 0.5, "udp": udp}
    crop = ops.RandomCrop((32, 24), **options)
    for _ in range(200):
        box = {"center": rng.uniform(-20, 140, 2), "size": rng.uniform(5, 150, 2)}
        draws = (*rng.standard_normal(2), rng.random())
        seen = crop(_example(view, **box), Script(*draws))
        whole = crop(_example(np.ascontiguousarray(view), **box), Script(*draws))
        np.testing.assert_array_equal(seen["image"], whole["image"])


def test_flipping_twice_changes_nothing():
    keypoints = np.random.default_rng(1).uniform(0, 40, (16, 2)).astype(np.float32)
    example = _example(keypoints=keypoints, visible=np.ones(16, np.float32))
    flip = ops.RandomFlip(MPII.flip_order, 1.0)
    twice = flip(flip(example, Script(0.3)), Script(0.3))
    for key in example:
        np.testing.assert_allclose(twice[key], example[key], atol=1e-5)


def test_a_skeleton_without_pairs_is_mirrored_too():
    example = _example(keypoints=np.full((17, 2), 9, np.float32))
    flipped = ops.RandomFlip(tuple(range(17)), 1.0)(example, Script(0.3))
    np.testing.assert_array_equal(flipped["keypoints"], [[50, 9]] * 17)


def test_center_moves_by_a_fifth_of_the_unpadded_box():
    example = _example(size=np.array([125, 250], np.float32))  # 100 x 200 before padding
    shifted = ops.ShiftCenter(0.3)(example, Script(1.0, 0.25, 0.2))
    np.testing.assert_allclose(shifted["center"], [30 + 40, 20 - 10], rtol=1e-6)
    assert ops.ShiftCenter(0.3)(example, Script(1.0, 0.25, 0.3)) is example


@pytest.mark.parametrize("half", ["upper", "lower"])
@pytest.mark.parametrize(
    ("name", "skeleton", "input_size"),
    [
        ("coco", COCO, (256, 192)),
        ("mpii", MPII, (256, 256)),
        ("crowdpose", CROWDPOSE, (256, 192)),
    ],
)
def test_half_body_boxes_are_the_official_ones(golden, name, skeleton, input_size, half):
    recorded = np.load(golden / "half_body.npz")
    narrow = ops.HalfBody(skeleton.upper_body, probability=1.0, min_joints=0)
    draw = {"upper": 0.0, "lower": 0.9}[half]
    people = zip(
        recorded[f"{name}_joints"],
        recorded[f"{name}_vis"],
        recorded[f"{name}_center_{half}"],
        recorded[f"{name}_scale_{half}"],
        strict=True,
    )
    for joints, visible, center, scale in people:
        example = _example(keypoints=joints.astype(np.float32), visible=visible)
        result = narrow(example, Script(0.0, draw))
        if np.isnan(center).any():
            assert result is example
            continue
        size = geometry.fit_aspect(result["size"], input_size)
        np.testing.assert_allclose(result["center"], center, atol=1e-4)
        np.testing.assert_allclose(size / 200, scale[::-1], atol=1e-4)


def test_half_body_needs_more_than_min_joints_and_luck():
    visible = (np.arange(17) < 8).astype(np.float32)
    example = _example(visible=visible, keypoints=np.eye(17, 2, dtype=np.float32))
    assert ops.HalfBody(COCO.upper_body, 0.3, 8)(example, Script(0.1, 0.0)) is example
    assert ops.HalfBody(COCO.upper_body, 0.3, 7)(example, Script(0.3, 0.0)) is example
    assert ops.HalfBody(COCO.upper_body, 0.3, 7)(example, Script(0.1, 0.0)) is not example


def test_half_body_ignores_joints_on_one_point():
    example = _example(keypoints=np.full((17, 2), 9, np.float32))
    assert ops.HalfBody(COCO.upper_body, 1.0, 0)(example, Script(0.0, 0.0)) is example


def test_people_of_one_image_share_its_decoded_pixels(tmp_path):
    path = _jpeg(tmp_path / "a.jpg", np.full((8, 8, 3), 90, np.uint8))
    other = _jpeg(tmp_path / "b.jpg", np.full((8, 8, 3), 200, np.uint8))
    images = [ops.Decode(True)(_example(image_path=p), None)["image"] for p in (path, path, other)]
    assert images[0] is images[1]
    assert images[2].mean() == 200
    with pytest.raises(ValueError, match="read-only"):
        images[0][:] = 0


def test_images_in_records_are_decoded_from_their_bytes(tmp_path):
    data = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    example = _example(image_path="in/records.jpg", encoded=lambda: data)
    assert ops.Decode(strict=True)(example, None)["image"].mean() == 90
    broken = _example(image_path="in/other.jpg", encoded=lambda: b"x")
    with pytest.raises(ValueError, match=r"in/other\.jpg: 1 bytes that are not an image"):
        ops.Decode(strict=True)(broken, None)


def test_an_image_of_too_many_pixels_or_of_too_long_a_side_counts_as_unreadable(tmp_path, caplog):
    (tmp_path / "claim.jpg").write_bytes(pictures.claiming(65500, 65500)["a.jpg"])
    cv2.imwrite(str(tmp_path / "long.jpg"), np.zeros((8, 40000, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "small.jpg"), np.zeros((8, 9, 3), np.uint8))
    decode = ops.Decode(strict=False, max_pixels=1_000_000)
    examples = [_example(image_path=str(tmp_path / f"{name}.jpg")) for name in ("claim", "long")]
    for example in examples:
        decoded = ops.Crop((16, 12))(decode(example, None), None)
        assert not decoded["readable"]
        assert not decoded["visible"].any()
    assert "claim.jpg: it has 65500x65500 pixels (width x height); at most 1,000,000" in caplog.text
    assert "long.jpg has 40000x8 pixels (width x height); people can be cropped" in caplog.text
    example = _example(image_path=str(tmp_path / "small.jpg"))
    assert decode(example, None)["readable"]


# --- crops


def test_crop_of_a_box_with_the_input_size_copies_pixels():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    keypoints = np.array([[25, 12], [35, 28]], np.float32)
    example = _example(image, keypoints, size=np.array([16, 12], np.float32))
    cropped = ops.Crop((16, 12))(example, None)
    np.testing.assert_array_equal(cropped["image"], image[12:28, 24:36])
    np.testing.assert_allclose(cropped["keypoints"], [[1, 0], [11, 16]])
    np.testing.assert_allclose(cropped["to_original"], [[1, 0, 24], [0, 1, 12]])
    assert cropped["to_original"].dtype == cropped["keypoints"].dtype == np.float32


def test_pixels_outside_the_image_are_black():
    example = _example(np.full((40, 60, 3), 200, np.uint8), size=np.array([80, 60], np.float32))
    image = ops.Crop((80, 60))(example, None)["image"]
    assert not image[:20].any()
    assert not image[60:].any()
    assert (image[20:60] == 200).all()


def test_to_original_takes_joints_back():
    keypoints = np.random.default_rng(2).uniform(0, 40, (17, 2)).astype(np.float32)
    random_crop = ops.RandomCrop((256, 192), 0.25, 30, 0.6)
    cropped = random_crop(_example(keypoints=keypoints), Script(0.4, -1.2, 0.5))
    back = geometry.transform(cropped["keypoints"], cropped["to_original"])
    np.testing.assert_allclose(back, keypoints, atol=1e-4)


def _zoom(matrix):
    return np.hypot(*matrix[0, :2])


def test_random_crop_has_the_published_distribution():
    rng, count = np.random.default_rng(0), 4000
    random_crop = ops.RandomCrop((16, 12), 0.25, 30, 0.6)
    example = _example(np.zeros((4, 4, 3), np.uint8), size=np.array([16, 12], np.float32))
    back = np.array([random_crop(example, rng)["to_original"] for _ in range(count)])
    zoom = np.array([_zoom(matrix) for matrix in back])
    angle = np.abs(np.rad2deg(np.arctan2(back[:, 0, 1], back[:, 0, 0])))
    turned = angle > 1e-3
    # Expected from the clipped normal: three standard errors of 4000 draws are below 0.02.
    assert abs(zoom.mean() - 1) < 0.02
    assert abs(zoom.std() / 0.25 - 0.7184) < 0.02
    assert abs((zoom > 1.2499).mean() - 0.1587) < 0.02
    assert abs(turned.mean() - 0.6) < 0.025
    assert abs(np.sqrt((angle[turned] ** 2).mean()) / 30 - 0.9595) < 0.04
    assert angle.max() < 60.001


def test_truncated_crop_has_the_distribution_of_mmpose_1():
    rng, count = np.random.default_rng(0), 4000
    crop = ops.TruncatedCrop((16, 12), 0.5, 80, 0.6, 0.16, 0.3)
    example = _example(np.zeros((4, 4, 3), np.uint8), size=np.array([16, 12], np.float32))
    crops = [crop(example, rng) for _ in range(count)]
    back = np.array([cropped["to_original"] for cropped in crops])
    moves = np.array([cropped["center"] for cropped in crops]) - example["center"]
    zoom = np.array([_zoom(matrix) for matrix in back])
    angle = np.rad2deg(np.arctan2(back[:, 0, 1], back[:, 0, 0]))
    turned, moved = np.abs(angle) > 1e-6, moves[:, 0] != 0
    assert np.abs(zoom - 1).max() <= 0.5 + 1e-6
    assert abs(zoom.std() / 0.5 - 0.5396) < 0.02
    assert abs(turned.mean() - 0.6) < 0.025
    assert abs(angle[turned].std() / 80 - 0.5396) < 0.02
    assert abs(moved.mean() - 0.3) < 0.025
    np.testing.assert_allclose(moves[moved].std(axis=0) / [12, 16], 0.16 * 0.5396, rtol=0.06)


# --- whole samples


# `draws` of the goldens are in the references' order; ours: flip, half body (gate, side), scale,
# rotation, its gate.
OFFICIAL_ORDER = (5, 0, 1, 2, 3, 4)
RECIPES = {
    "coco": (COCO, (256, 192), 0.35, 45, 0.3),
    "mpii": (MPII, (256, 256), 0.25, 30, -1.0),
}
IMAGES = {
    "coco0": "coco/val2017/000000000785.jpg",
    "coco1": "coco/val2017/000000040083.jpg",
    "mpii0": "mpii/images/005808361.jpg",
    "mpii1": "mpii/images/051423444.jpg",
}


def _run(person, draws, skeleton, input_size, scale, rotation, half_body, *, udp=False):
    steps = (
        ops.Decode(strict=True),
        ops.RandomFlip(skeleton.flip_order, 0.5),
        ops.HalfBody(skeleton.upper_body, half_body, 8),
        ops.RandomCrop(input_size, scale, rotation, 0.6, udp),
    )
    rng = Script(*draws)
    for step in steps:
        person = step(person, rng)
    assert not rng.numbers
    options = {"size": (input_size[0] // 4, input_size[1] // 4), "stride": 4, "sigma": 2.0}
    options["encoding"] = "udp" if udp else "msra"
    joints = jnp.array(person["keypoints"][None]), jnp.array(person["visible"][None])
    targets, weights = heatmaps.encode(*joints, **options)
    return {**person, "heatmaps": np.asarray(targets[0]), "weights": np.asarray(weights[0])}


def _person(image_path, recorded, prefix):
    return {
        "image_path": str(image_path),
        "center": recorded[f"{prefix}in_center"].astype(np.float32),
        "size": recorded[f"{prefix}in_scale"][::-1].astype(np.float32) * 200,
        "keypoints": recorded[f"{prefix}in_joints"][:, :2].astype(np.float32),
        "visible": recorded[f"{prefix}in_vis"][:, 0].astype(np.float32),
    }


def _thumbnail(image):
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 8, height // 8), interpolation=cv2.INTER_AREA)


def _assert_sample(result, joints, visible, weights, thumbnail):
    seen = visible[:, 0] > 0
    np.testing.assert_array_equal(result["visible"], visible[:, 0])
    np.testing.assert_allclose(result["keypoints"][seen], joints[seen, :2], atol=1e-3)
    np.testing.assert_array_equal(result["weights"], weights[:, 0])
    difference = _thumbnail(result["image"]).astype(int) - thumbnail
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("name", IMAGES)
def test_training_samples_are_the_official_ones(shared, name):
    recorded = np.load(shared / "reference" / "golden" / "augment_official.npz")
    dataset = name[:-1]
    for row, draws in enumerate(recorded[f"{dataset}_draws"][:, OFFICIAL_ORDER]):
        person = _person(shared / "samples" / IMAGES[name], recorded, f"{name}_")
        result = _run(person, draws, *RECIPES[dataset])
        out = {
            key: recorded[f"{name}_out_{key}"][row]
            for key in ("joints", "vis", "target_weight", "thumb", "target_sum")
        }
        _assert_sample(result, out["joints"], out["vis"], out["target_weight"], out["thumb"])
        sums = result["heatmaps"].sum(axis=(0, 1))
        np.testing.assert_allclose(sums, out["target_sum"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["classic", "udp"])
def test_training_samples_are_those_of_mmpose(shared, kind):
    recorded = np.load(shared / "reference" / "golden" / "augment_mmpose0.npz")
    for row, draws in enumerate(recorded["draws"]):
        person = _person(shared / "samples" / IMAGES["coco0"], recorded, "")
        result = _run(person, draws, COCO, (256, 192), 0.5, 40, 0.3, udp=kind == "udp")
        keys = ("joints", "vis", "target_weight", "thumb")
        _assert_sample(result, *(recorded[f"{kind}_{key}"][row] for key in keys))


CROPS = {
    "coco785": ("coco/val2017/000000000785.jpg", 0.0),
    "coco785_rot": ("coco/val2017/000000000785.jpg", -37.25),
    "mpii005808361": ("mpii/images/005808361.jpg", 22.5),
    "ochuman003799": ("ochuman/images/003799.jpg", 0.0),
}


@pytest.mark.parametrize("kind", ["classic", "udp"])
@pytest.mark.parametrize("name", CROPS)
def test_crops_of_real_images_are_the_references(shared, name, kind):
    recorded = np.load(shared / "reference" / "golden" / "warp_crops.npz")
    file, rotation = CROPS[name]
    example = _example(
        image_path=str(shared / "samples" / file),
        center=recorded[f"{name}_center"],
        size=recorded[f"{name}_scale"][::-1] * 200,
    )
    example = ops.Decode(strict=True)(example, None)
    # A rotation of r degrees is what a standard deviation of |r| and a draw of +-1 give.
    crop = ops.RandomCrop((256, 192), 0.0, abs(rotation), 1.0, udp=kind == "udp")
    image = crop(example, Script(0.0, np.sign(rotation), 0.0))["image"]
    difference = np.abs(image.astype(int) - recorded[f"{name}_{kind}"])
    # Exact without rotation. With it, and for UDP, the reference's matrix is rounded to float32,
    # which moves a few sampling positions by OpenCV's grid of 1/32 pixel.
    assert difference.max() <= (5 if rotation or kind == "udp" else 0)
    assert (difference > 0).mean() < 1e-3
