"""Images, folders, videos and cameras become frames, or messages that say what is wrong."""

import os
import pathlib

import cv2
import numpy as np
import pytest

from hrjax.prediction import media

PIL = pytest.importorskip("PIL.Image")


@pytest.fixture
def halves():
    """An image whose left half is red and whose right half is blue."""
    image = np.zeros((24, 40, 3), np.uint8)
    image[:, :20, 0] = image[:, 20:, 2] = 255
    return image


def write_formats(folder, image):
    """Writes the image in many formats; returns the files."""
    picture, blue = PIL.fromarray(image), PIL.new("RGB", image.shape[1::-1], (0, 0, 255))
    for name in ("rgb.png", "rgb.bmp", "rgb.tif"):
        picture.save(folder / name)
    picture.convert("P").save(folder / "palette.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=100)
    picture.convert("RGBA").save(folder / "alpha.png")
    cv2.imwrite(str(folder / "deep.png"), image[..., ::-1].astype(np.uint16) * 257)
    for name in ("animated.gif", "animated.png", "animated.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        more = {"save_all": True, "append_images": [blue], "duration": 100}
        picture.save(folder / name, **more, **options)
    return sorted(folder.iterdir())


def read(folder):
    problems = []
    files = media.find_images(str(folder), exclude=folder / "out")
    return list(media.read_images(files, str(folder), problems)), problems


def test_every_format_becomes_8_bit_rgb_and_animations_give_their_first_frame(tmp_path, halves):
    files = write_formats(tmp_path, halves)
    frames, problems = read(tmp_path)
    assert not problems
    assert [frame.name for frame in frames] == [file.name for file in files]
    for frame in frames:
        assert frame.image.dtype == np.uint8
        np.testing.assert_allclose(frame.image, halves, atol=6, err_msg=frame.name)


@pytest.mark.parametrize("levels", [np.uint8, np.uint16])
def test_gray_becomes_three_equal_channels(tmp_path, levels):
    gray = np.full((8, 8), 100 if levels is np.uint8 else 100 * 257, levels)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    frames, _ = read(tmp_path)
    np.testing.assert_array_equal(frames[0].image, np.full((8, 8, 3), 100))


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_truncated_images_are_named_and_the_others_are_read(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    PIL.fromarray(noise).save(tmp_path / f"a.{ending}")
    whole = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(whole[: len(whole) // 2])
    PIL.fromarray(noise).save(tmp_path / "b.png")
    frames, problems = read(tmp_path)
    assert [frame.name for frame in frames] == ["b.png"]
    assert len(problems) == 1
    assert f"can't read the image {tmp_path / 'a.'}{ending}" in problems[0]


def test_files_that_are_not_images_are_named(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    frames, problems = read(tmp_path)
    assert not frames
    assert ["0 bytes that are not an image" in problems[0], "5 bytes" in problems[1]] == [True] * 2


def test_folders_are_read_in_order_with_subfolders_but_without_the_output(tmp_path, halves):
    for name in ("b.png", "a.JPG", "deep/c.png", "out/a.JPG", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(".png", halves)[1].tobytes())
    frames, _ = read(tmp_path)
    assert [frame.name for frame in frames] == ["a.JPG", "b.png", "deep/c.png"]
    assert [frame.image_id for frame in frames] == [1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("source", ["", "z.jpg"])
def test_a_pipe_is_named_and_not_waited_for(tmp_path, source):
    os.mkfifo(tmp_path / "z.jpg")
    frames, problems = read(tmp_path / source)
    assert (frames, problems) == (
        [],
        [f"{tmp_path / 'z.jpg'} is a named pipe; expected a regular file"],
    )


def test_a_linked_output_folder_is_not_read(tmp_path, halves):
    for name in ("a.png", "out/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), halves)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    files = media.find_images(str(tmp_path), exclude=tmp_path / "link")
    assert [file.name for file in files] == ["a.png"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "P"])
def test_pil_images_of_any_8_bit_mode_are_rgb_pixels(halves, mode):
    pixels = media.load_image(PIL.fromarray(halves).convert(mode))
    assert (pixels.shape, pixels.dtype) == (halves.shape, np.uint8)
    np.testing.assert_allclose(pixels, halves, atol=2)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_pil_images_become_three_equal_channels(mode):
    pixels = media.load_image(PIL.new("L", (8, 6), 255).convert(mode))
    np.testing.assert_array_equal(pixels, np.full((6, 8, 3), 255))


def test_truncated_pil_images_say_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    path = tmp_path / "a.jpg"
    PIL.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    message = "can't read the PIL image: image file is truncated"
    with PIL.open(path) as image, pytest.raises(ValueError, match=message):
        media.load_image(image)


class Tensor:
    """What other frameworks' tensors have in common."""

    def __init__(self, array):
        self._array = array
        self.ndim = array.ndim

    def __array__(self, dtype=None, copy=None):
        return self._array

    def __iter__(self):
        return map(Tensor, self._array)


def test_tensors_of_other_frameworks_are_images(halves):
    np.testing.assert_array_equal(media.load_image(Tensor(halves)), halves)
    np.testing.assert_array_equal(media.load_image(memoryview(halves)), halves)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"got \(4, 5\) uint8: repeat the gray channel"),
        (np.zeros((4, 5, 1), np.uint8), r"got \(4, 5, 1\) uint8: repeat the gray channel"),
        (np.zeros((4, 5, 4), np.uint8), r"got \(4, 5, 4\) uint8: drop the fourth channel"),
        (Tensor(np.zeros((3, 4, 5), np.uint8)), r"got \(3, 4, 5\) uint8: the channels come last"),
        (np.zeros((4, 5, 3), np.float32), r"got \(4, 5, 3\) float32: convert it to uint8"),
        (np.zeros((0, 5, 3), np.uint8), r"got \(0, 5, 3\) uint8$"),
        (PIL.new("I;16", (4, 5)), r"got a PIL image of mode I;16: scale it to 8 bits"),
        (None, "got a NoneType"),
        (b"\xff\xd8\xff", "got a bytes"),
        ({"image": 1}, "got a dict"),
        ([[1], [1, 2]], "got a list: .*inhomogeneous"),
        (np.array(["a.jpg", "b.jpg"]), "got a ndarray"),
    ],
)
def test_what_is_not_an_image_is_described_with_what_may_be_one(image, message):
    with pytest.raises(ValueError, match=f"an image must be a path, a PIL image, or .*{message}"):
        media.load_image(image)


def test_one_image_is_distinguished_from_several(halves):
    for one in ("a.jpg", pathlib.Path("a.jpg"), halves, Tensor(halves), PIL.new("RGB", (4, 5))):
        assert media.is_single_image(one)
        assert not media.is_single_image([one])
        assert not media.is_single_image(iter([one]))
    assert media.is_single_image(None)
    for several in (halves[None], Tensor(halves[None]), np.array(["a.jpg", "b.jpg"])):
        assert not media.is_single_image(several)


def test_image_ids_are_the_numbers_in_the_names_if_all_have_one():
    paths = [pathlib.Path(name) for name in ("000000000785.jpg", "COCO_val2014_000000000139.jpg")]
    assert media.image_ids(paths) == [785, 139]
    assert media.image_ids([*paths, pathlib.Path("dog.jpg")]) == [1, 2, 3]
    assert media.image_ids([pathlib.Path("a1.jpg"), pathlib.Path("b1.jpg")]) == [1, 2]


def test_a_source_without_images_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images in .*looked for \.jpg"):
        media.find_images(str(tmp_path), exclude=tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no file or folder nowhere"):
        media.find_images("nowhere", exclude=tmp_path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("a.MP4", True), ("webcam", True), ("webcam:1", True), ("a.jpg", False), ("webcams", False)],
)
def test_videos_are_recognized_by_their_suffix(source, expected):
    assert media.is_video(source) == expected
