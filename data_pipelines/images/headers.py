"""What an image file says before any pixel is decoded: its format, its size, what decoding takes.

A few bytes can claim billions of pixels, which a decoder allocates before it notices that they are
not there. So the sizes are read here, where the decoders read them. Formats that hide how much
memory they take are refused: an AVIF's size stands in many places, and each pixel of a JPEG 2000
may take 700 bytes (precincts of one pixel).
"""

import dataclasses
import re
import struct
from collections.abc import Callable, Iterator

from data_pipelines.messages import sizes

MAX_PIXELS = 178_956_970  # Pillow's limit, too
# Memory that decoding may take for each pixel that is allowed: 716 MB by default, of which a data
# worker that takes 225 MB itself stays below 1 GB.
MEMORY_PER_PIXEL = 4
MAX_SIDE = 2**15 - 2  # of an image to crop people from: OpenCV's warps count pixels in 16 bits
# Scans of a JPEG; encoders write about ten. Each takes as long as an image, 3 ns a pixel.
FEWEST_SCANS, MAX_SCANS, MAX_SCANNED = 20, 100, 10 * MAX_PIXELS
MAX_PARTS = 2**20  # segments of a JPEG, chunks of a PNG

# Bytes that OpenCV's decoders take for each pixel, as measured: the image, twice, and their own.
IMAGE = 6.2
GIF = 8.2
WEBP, ANIMATED_WEBP = 7.2, 11.2

JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_WHOLE = {0xC2, 0xC3, 0xC6, 0xC7, 0xCA, 0xCB, 0xCE, 0xCF}  # progressive or lossless
JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
# What the pixels depend on. Compressed texts and color profiles unpack to a thousand times their
# size, and OpenCV unpacks them; of an animation only the first frame is read.
PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"}
PNM = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})\s")
PNM_HEADER = 4096  # bytes
TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
REFUSED = re.compile(rb"....ftypavi[fs]|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", re.DOTALL)


class Unreadable(ValueError):
    """The bytes are not an image, or not all of one; the message does not say of which file."""


@dataclasses.dataclass(frozen=True)
class Header:
    """The format of an image, its (height, width), and the bytes of memory that decoding takes.

    `memory` is OpenCV's, without the file itself. Of a JPEG, `turbo_memory` is what libjpeg-turbo
    takes that is called directly, and `several_scans` says that it may have more than one.
    """

    kind: str
    size: tuple[int, int]
    memory: int
    turbo_memory: int = 0
    several_scans: bool = False


def read(data: bytes) -> Header:
    """The header of an image file; raises Unreadable."""
    for start, parse in FORMATS:
        if start.match(data):
            try:
                return parse(data)
            except (struct.error, IndexError, OverflowError) as error:
                raise damaged(data) from error
    if REFUSED.match(data):
        raise Unreadable(
            "how much memory an AVIF or a JPEG 2000 takes can't be told before it is decoded; "
            "convert it to JPEG, PNG or WebP"
        )
    raise damaged(data)


def damaged(data: bytes) -> Unreadable:
    """The error of bytes that no decoder reads."""
    return Unreadable(f"{len(data)} bytes that are not an image, or only a part of one")


def check(header: Header, *, memory: int, max_pixels: int) -> None:
    """Raises Unreadable if an image has too many pixels, or needs too much memory for them."""
    height, width = header.size
    if height * width > max_pixels:
        raise Unreadable(
            f"it has {sizes.pixels(header.size)}; at most {max_pixels:,} are decoded: "
            "make it smaller, or raise max_pixels"
        )
    limit = memory_limit(max_pixels)
    if memory > limit:
        raise Unreadable(
            f"decoding this {header.kind} of {sizes.pixels(header.size)} takes about "
            f"{memory / 1e6:,.0f} MB of memory, and at most {limit / 1e6:,.0f} MB are used: make "
            "it smaller, save it as a plain JPEG, or raise max_pixels"
        )


def memory_limit(max_pixels: int) -> int:
    """How many bytes of memory decoding an image may take."""
    return MEMORY_PER_PIXEL * max(max_pixels, MAX_PIXELS)


def _simple(kind, height, width, per_pixel, extra=0):
    if height < 1 or width < 1:
        raise Unreadable(f"it states a size of {sizes.pixels((height, width))}")
    return Header(kind, (height, width), int(per_pixel * height * width + extra))


def _jpeg(data):
    place, frame = 2, None
    for _ in range(MAX_PARTS):
        match = MARKER.search(data, place)
        if match is None or match[1] == b"\xd9":
            break
        marker, place = match[1][0], match.end()
        if marker in JPEG_BARE:
            continue
        if marker == 0xDA:
            if frame is None:
                break
            header = _jpeg_header(*frame, scanned=data[place + 2])
            if header.several_scans:
                pixels = header.size[0] * header.size[1]
                limit = min(MAX_SCANS, max(FEWEST_SCANS, MAX_SCANNED // pixels))
                _check_scans(data, place, limit)
            return header
        if marker in JPEG_SIZES and frame is None:
            frame = (marker, *struct.unpack_from(">HHB", data, place + 3))
        place += _segment(data, place)
    raise damaged(data)


def _segment(data, place):
    (length,) = struct.unpack_from(">H", data, place)
    if length < 2:
        raise damaged(data)
    return length


def _jpeg_header(marker, height, width, components, *, scanned):
    # Coefficients of the whole image are kept where a scan does not hold all components.
    several = marker in JPEG_WHOLE or scanned < components
    kept = 2 * components if several else 0
    turbo = 3.2 + kept if components < 4 else max(7.3, 4.2 + kept)  # CMYK is decoded as such first
    header = _simple("JPEG", height, width, max(IMAGE, 3.2 + kept))
    own = {"turbo_memory": int(turbo * height * width), "several_scans": several}
    return dataclasses.replace(header, **own)


def _check_scans(data, place, limit):
    """Raises Unreadable if a JPEG whose first scan is at `place` has more than `limit`."""
    if data.count(b"\xff\xda", place) < limit:
        return
    scans = 1
    for _ in range(MAX_PARTS):
        match = MARKER.search(data, place)
        if match is None or match[1] == b"\xd9":
            return
        place = match.end()
        if match[1][0] in JPEG_BARE:
            continue
        place += _segment(data, place)
        scans += match[1] == b"\xda"
        if scans > limit:
            break
    raise Unreadable(
        f"the JPEG has more than {limit} scans, each of which takes as long as an image"
    )


def _png(data):
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if (length, name) != (13, b"IHDR"):
        raise damaged(data)
    return _simple("PNG", height, width, IMAGE, len(data))


def png_pixels(data: bytes) -> bytes:
    """A PNG with nothing but what its pixels and its orientation depend on."""
    chunks = list(_png_chunks(data))
    if all(name in PNG_CHUNKS for name, *_ in chunks):
        return data
    kept = [data[start:end] for name, start, end in chunks if name in PNG_CHUNKS]
    return b"".join([data[:8], *kept])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name, start and end of each chunk; raises Unreadable if one is not all there.

    OpenCV allocates as many bytes as a chunk claims to have, up to 4 GB.
    """
    place = 8
    for _ in range(MAX_PARTS):
        if place + 8 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        yield name, place, end
        if name == b"IEND":
            return
        place = end
    raise damaged(data)


def _webp(data):
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return _simple("WebP", height & 0x3FFF, width & 0x3FFF, WEBP)
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return _simple("WebP", 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), WEBP)
    if kind == b"VP8X":
        flags, width, height = data[20], data[24:27], data[27:30]
        if len(height) == 3:
            size = (1 + int.from_bytes(side, "little") for side in (height, width))
            return _simple("WebP", *size, ANIMATED_WEBP if flags & 2 else WEBP)
    raise damaged(data)


def _bmp(data):
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return _simple("BMP", abs(height), abs(width), IMAGE)


def _gif(data):
    width, height = struct.unpack_from("<HH", data, 6)
    return _simple("GIF", height, width, GIF)


def _tiff(data):
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    fields = _tiff_fields(data, order, big)
    if 256 not in fields or 257 not in fields:
        raise damaged(data)
    sample = fields.get(277, 1) * fields.get(258, 1) / 8 * fields.get(32997, 1)
    row = max(4, sample)  # bytes of a pixel in the strips or tiles that are unpacked
    tile = row * fields.get(322, 0) * fields.get(323, 0)
    return _simple("TIFF", fields[257], fields[256], IMAGE + row, tile)


def _tiff_fields(data, order, big):
    """The integers of the first directory by their tags; of several, the largest."""
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    start, step = start + (8 if big else 2), 20 if big else 12
    fields = {}
    for place in range(start, start + step * min(count, 2**16), step):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag not in (256, 257, 258, 277, 322, 323, 32997):
            continue
        if kind not in TIFF_INTEGERS:
            raise Unreadable(f"the TIFF states its field {tag} in a type that is not a number")
        (values,) = struct.unpack_from(order + ("Q" if big else "I"), data, place + 4)
        form = order + TIFF_INTEGERS[kind] * min(values, 8)
        place += 12 if big else 8
        if struct.calcsize(form) > (8 if big else 4):
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
        fields[tag] = max(fields.get(tag, 0), *struct.unpack_from(form, data, place), 0)
    return fields


def _pnm(data):
    match = PNM.match(data[:PNM_HEADER])
    if match is None:
        raise damaged(data)
    return _simple("PNM", int(match[2]), int(match[1]), IMAGE)


FORMATS: tuple[tuple[re.Pattern, Callable[[bytes], Header]], ...] = (
    (re.compile(rb"\xff\xd8"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), _tiff),
    (re.compile(rb"P[1-6]\s"), _pnm),
)
