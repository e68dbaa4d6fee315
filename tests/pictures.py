"""Small images of every format that is read, and files that claim to be large ones."""

import io
import struct
import zlib

import cv2
import numpy as np
import PIL.Image


def noise(height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth image in which all pixels differ."""
    random = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(random, (0, 0), 2)


def encoded(ending: str, image: np.ndarray, *options: int) -> bytes:
    """An image file as OpenCV writes it."""
    return cv2.imencode(ending, image, options)[1].tobytes()


def saved(kind: str, image: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    """An image file as Pillow writes it."""
    file = io.BytesIO()
    PIL.Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()


def every_kind() -> dict[str, bytes]:
    """Image files of all formats and of most of their variants, all of one size."""
    image = noise()
    deep = image.astype(np.uint16) * 257
    clear = np.dstack([image, image[..., :1]])
    frames = [PIL.Image.fromarray(255 - image)]
    return {
        "baseline.jpg": encoded(".jpg", image),
        "gray.jpg": encoded(".jpg", image[..., 0]),
        "progressive.jpg": encoded(".jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "cmyk.jpg": saved("JPEG", image, "CMYK"),
        "exif.jpg": saved("JPEG", image, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
        "rgb.png": encoded(".png", image),
        "alpha.png": encoded(".png", clear),
        "deep.png": encoded(".png", deep),
        "palette.png": saved("PNG", image, "P"),
        "texts.png": with_chunk(encoded(".png", image), b"tEXt", b"a\0b"),
        "animated.png": saved("PNG", image, save_all=True, append_images=frames),
        "lossy.webp": encoded(".webp", image, cv2.IMWRITE_WEBP_QUALITY, 80),
        "lossless.webp": saved("WEBP", image, lossless=True),
        "alpha.webp": saved("WEBP", clear, "RGBA"),
        "animated.webp": saved("WEBP", image, save_all=True, append_images=frames),
        "a.gif": saved("GIF", image, "P"),
        "animated.gif": saved("GIF", image, "P", save_all=True, append_images=frames),
        "a.bmp": encoded(".bmp", image),
        "palette.bmp": saved("BMP", image, "P"),
        "a.tif": saved("TIFF", image),
        "big.tif": saved("TIFF", image, big_tiff=True),
        "lzw.tif": encoded(".tif", image),
        "deep.tif": encoded(".tif", deep),
        "a.ppm": encoded(".ppm", image),
        "a.pgm": encoded(".pgm", image[..., 0]),
    }


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk, behind its header."""
    return png[:33] + chunk(name, content) + png[33:]


def claiming(width: int, height: int) -> dict[str, bytes]:
    """A few bytes of each format that claim an image of a size."""
    jpeg = bytearray(encoded(".jpg", noise()))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    png = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"VP8X" + struct.pack("<II", 10, 0) + canvas
    bmp = struct.pack("<IHHIIiiHHIIiiII", 1000, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)
    fields = ((256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 8), (277, 3))
    fields += ((278, height), (279, 1000))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return {
        "a.jpg": bytes(jpeg),
        "a.png": b"\x89PNG\r\n\x1a\n" + png + pixels,
        "a.webp": b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body,
        "a.gif": b"GIF89a" + struct.pack("<HH", width & 0xFFFF, height & 0xFFFF) + bytes(100),
        "a.bmp": b"BM" + bmp + bytes(100),
        "a.tif": b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + entries + bytes(100),
        "a.ppm": f"P6\n{width} {height}\n255\n".encode() + bytes(100),
    }
