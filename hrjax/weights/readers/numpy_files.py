"""Reads .npz archives of NumPy."""

import math
import os
import re
from typing import BinaryIO

import numpy as np

from hrjax.weights.readers import zip_archives

MAGIC = b"\x93NUMPY"
MAX_HEADER = 10_000  # bytes, as in NumPy
MAX_AXES = 32
DTYPE = re.compile(r"[<>=|]?[?biufcSUV]\d{0,9}")
FIELD = r"'(descr|fortran_order|shape)':\s*('[^']*'|True|False|\((?:\d{1,18}L?(?:,\s*|(?=\))))*\))"
HEADER = re.compile(rf"\{{\s*{FIELD},\s*{FIELD},\s*{FIELD},?\s*\}}\s*")


def read(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of an archive by name."""
    archive = zip_archives.Archive(file, os.fstat(file.fileno()).st_size)
    names = [name for name in archive.entries if name.endswith(".npy")]
    return {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}


def _array(data):
    """The array of one entry: a header of text, then the numbers."""
    text, start = _header(data)
    match = HEADER.fullmatch(text)
    fields = dict(zip(match.groups()[::2], match.groups()[1::2], strict=True)) if match else {}
    if len(fields) != 3:
        raise ValueError(f"the header of an array is {text[:80]!r}")
    descr = fields["descr"].strip("'")
    if re.fullmatch(r"[|]?O\d*", descr):
        raise ValueError("Object arrays cannot be loaded")
    if not DTYPE.fullmatch(descr):
        raise ValueError(f"an array's dtype is {descr[:80]!r}")
    shape = tuple(map(int, re.findall(r"\d+", fields["shape"])))
    dtype = np.dtype(descr)
    if math.prod(shape) * dtype.itemsize != len(data) - start or len(shape) > MAX_AXES:
        raise ValueError(f"an array {shape} has {len(data) - start} bytes")
    if len(data) == start:
        return np.empty(shape, dtype)
    order = "F" if fields["fortran_order"] == "True" else "C"
    return np.ndarray(shape, dtype, data, start, order=order)


def _header(data):
    """The header's text, and where the numbers begin."""
    start = data[:12].tobytes()
    version = start[6:8]
    if start[:6] != MAGIC or version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("an entry is not an array")
    width = 2 if version == b"\1\0" else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > min(MAX_HEADER, len(data) - 8 - width):
        raise ValueError(f"the header of an array has {length} bytes")
    header = data[8 + width : 8 + width + length].tobytes()
    return header.decode("utf-8" if version == b"\3\0" else "latin-1"), 8 + width + length
