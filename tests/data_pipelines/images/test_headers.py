"""Sizes are known before anything is decoded, and what is too large costs no memory."""

import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pictures
import pytest

from data_pipelines import images
from data_pipelines.images import headers

KINDS = pictures.every_kind()


@pytest.mark.parametrize("name", KINDS)
def test_images_of_every_format_state_their_size(name):
    header = headers.read(KINDS[name])
    assert header.size == (24, 32)
    assert images.decode(KINDS[name], name).shape == (24, 32, 3)


@pytest.mark.parametrize("name", KINDS)
def test_pixels_are_those_that_opencv_gives(name):
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    expected = cv2.imdecode(np.frombuffer(KINDS[name], np.uint8), flags)
    difference = np.abs(images.decode(KINDS[name], name).astype(int) - expected)
    assert difference.max() <= (2 if name == "cmyk.jpg" else 0)


@pytest.mark.parametrize("size", [(65500, 65500), (13378, 13378), (40000, 16000)])
@pytest.mark.parametrize("name", pictures.claiming(1, 1))
def test_a_claim_of_too_many_pixels_is_refused_before_decoding(name, size):
    data = pictures.claiming(*size)[name]
    pixels = f"{size[0]}x{size[1]} pixels"
    with pytest.raises(ValueError, match=f"can't read the image {name}: .*{pixels}") as error:
        images.decode(data, name)
    assert "at most 178,956,970 are decoded" in str(error.value)


@pytest.mark.parametrize("name", ["baseline.jpg", "rgb.png", "lossy.webp", "a.gif", "a.bmp"])
def test_the_limit_on_pixels_is_exact(name):
    assert images.decode(KINDS[name], name, max_pixels=24 * 32).shape == (24, 32, 3)
    with pytest.raises(ValueError, match=r"it has 32x24 pixels .* at most 767 are decoded"):
        images.decode(KINDS[name], name, max_pixels=24 * 32 - 1)


def test_the_limit_can_be_raised():
    data = pictures.claiming(20000, 20000)["a.jpg"]
    headers.check(headers.read(data), memory=0, max_pixels=400_000_000)


def test_formats_that_need_much_memory_for_each_pixel_have_a_lower_limit():
    data = pictures.claiming(10000, 9000)["a.gif"]
    with pytest.raises(ValueError, match=r"decoding this GIF of 10000x9000 .* takes about 738 MB"):
        images.decode(data, "a.gif")


def progressive(scans: int) -> bytes:
    """A progressive JPEG with a number of further scans of the same coefficients."""
    data = pictures.encoded(".jpg", pictures.noise(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * scans + b"\xff\xd9"


def test_a_jpeg_of_very_many_scans_is_refused():
    images.decode(progressive(5), "a.jpg")
    with pytest.raises(ValueError, match="more than 100 scans"):
        images.decode(progressive(200), "a.jpg")


def test_marks_of_scans_in_an_appended_film_are_not_counted():
    data = pictures.encoded(".jpg", pictures.noise(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert images.decode(data + b"\xff\xda" * 1000, "a.jpg").shape == (24, 32, 3)


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_packed_texts_of_a_png_are_not_unpacked(name):
    packed = zlib.compress(bytes(2**24), 9)
    head = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[name]
    image = pictures.noise()
    data = pictures.encoded(".png", image)
    for _ in range(20):
        data = pictures.with_chunk(data, name, head + packed)
    assert headers.png_pixels(data) == pictures.encoded(".png", image)
    np.testing.assert_array_equal(images.decode(data, "a.png"), image[..., ::-1])


@pytest.mark.parametrize("name", [b"IDAT", b"PLTE", b"zTXt", b"IEND"])
def test_a_png_with_a_chunk_that_claims_gigabytes_is_refused(name):
    data = pictures.with_chunk(pictures.encoded(".png", pictures.noise()), name, b"")
    place = data.index(name) - 4
    data = data[:place] + b"\xfe\0\0\0" + data[place + 4 :]
    with pytest.raises(ValueError, match="bytes that are not an image, or only a part of one"):
        headers.png_pixels(data)


@pytest.mark.parametrize("name", ["a.avif", "a.jp2", "a.j2k"])
def test_formats_that_hide_how_much_memory_they_take_are_refused(name):
    image = pictures.noise()
    data = {
        "a.avif": b"\0\0\0\x20ftypavif" + bytes(100),
        "a.jp2": pictures.saved("JPEG2000", image),
        "a.j2k": pictures.saved("JPEG2000", image, no_jp2=True),
    }[name]
    with pytest.raises(ValueError, match=f"{name}: how much memory an AVIF or .* convert it to"):
        images.decode(data, name)


def test_other_formats_of_opencv_are_not_images():
    data = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 99999 +X 99999\n"
    with pytest.raises(ValueError, match="bytes that are not an image"):
        images.decode(data, "a.hdr")


def test_a_tiff_with_a_huge_tile_is_refused():
    data = pictures.claiming(10, 10)["a.tif"]
    (count,) = struct.unpack_from("<H", data, 8)
    tiles = struct.pack("<HHII", 322, 4, 1, 65536) + struct.pack("<HHII", 323, 4, 1, 65536)
    entries = data[10 : 10 + 12 * count]
    data = data[:8] + struct.pack("<H", count + 2) + entries + tiles + bytes(100)
    with pytest.raises(ValueError, match=r"decoding this TIFF of 10x10 pixels .* takes about"):
        images.decode(data, "a.tif")


def test_a_tiff_whose_directory_is_beyond_all_memory_is_not_an_image():
    data = b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(100)
    with pytest.raises(ValueError, match="bytes that are not an image"):
        images.decode(data, "a.tif")


def test_a_memory_error_of_an_image_names_it(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(ValueError, match=r"can't read the image a\.png: there is not enough mem"):
        images.decode(KINDS["rgb.png"], "a.png")


PEAK = """
import pathlib, sys
import numpy as np
from data_pipelines import images
from data_pipelines.batching import loading
from data_pipelines.transforms import chains, ops
data = pathlib.Path(sys.argv[1]).read_bytes()
images.decode(data, "a")
del data
example = {"image_path": sys.argv[1], "visible": np.ones(1), "keypoints": np.zeros((1, 2)),
           "center": np.float32([50, 50]), "size": np.float32([50, 50])}
for op in chains.eval_ops((64, 48), strict=True):
    example = op(example, None)
status = pathlib.Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["jpg", "progressive", "png", "webp"])
def test_the_largest_images_are_decoded_in_less_than_a_gigabyte(tmp_path, kind):
    # As many pixels as the limits on memory let through, in each format.
    side = {"jpg": 13300, "progressive": 8800, "png": 10700, "webp": 9900}[kind]
    image = np.zeros((side, side, 3), np.uint8)
    ending = {"progressive": ".jpg"}.get(kind, f".{kind}")
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if kind == "progressive" else []
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111] if kind == "progressive" else []
    (tmp_path / f"a{ending}").write_bytes(pictures.encoded(ending, image, *options))
    del image
    command = [sys.executable, "-c", PEAK, str(tmp_path / f"a{ending}")]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6
    assert peak < 1.0
