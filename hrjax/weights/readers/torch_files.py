"""Reads files of PyTorch: zip archives, and the format before PyTorch 1.6."""

import io
import os
import struct
from typing import Any, BinaryIO

import numpy as np

from hrjax.weights.readers import safe_pickle, zip_archives
from hrjax.weights.readers.budget import Budget
from hrjax.weights.readers.pickled_types import Storage

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first object that torch.save wrote before PyTorch 1.6


def read(file: BinaryIO) -> Any:
    """The contents of a file of PyTorch."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"PK":
        return _read_zip(file, size)
    return _read_legacy(file, size)


def _read_zip(file, size):
    """An archive of one pickle and one entry for each storage."""
    archive = zip_archives.Archive(file, size)
    main = next((name for name in archive.entries if name.endswith("/data.pkl")), None)
    if main is None:
        raise ValueError("the archive has no data.pkl")
    root = main.removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive.entries and archive.read(order).tobytes() != b"little":
        raise ValueError("it was written on a big-endian machine")
    storages = {}

    def load_storage(dtype, key, location, count, view=None):
        if key not in storages:
            storages[key] = archive.read(f"{root}data/{key}")
        expected = count * np.dtype(dtype).itemsize
        if storages[key].nbytes != expected:
            raise ValueError(f"{storages[key].nbytes} bytes where {expected} were announced")
        return Storage(storages[key], dtype)

    body = archive.read(main).tobytes()
    return safe_pickle.load(io.BytesIO(body), len(body), Budget(archive.size), load_storage)


def _read_legacy(file, size):
    """Some pickles, then the numbers of their tensors."""
    budget = Budget(size)
    if safe_pickle.load(file, size, budget) != LEGACY_MAGIC:
        raise ValueError("it does not begin as PyTorch's files do")
    safe_pickle.load(file, size, budget)  # the version of the format
    if not safe_pickle.load(file, size, budget)["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    storages = _LegacyStorages(size)
    content = safe_pickle.load(file, size, budget, storages.load)
    keys = safe_pickle.load(file, size, budget)
    if len(keys) != len(storages.data) or {*keys} != storages.data.keys():
        raise ValueError("the numbers of some tensors are missing")
    for key in keys:
        data, itemsize = storages.data[key], storages.itemsizes[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count * itemsize != data.nbytes:
            raise ValueError(f"{count} numbers where {data.nbytes // itemsize} were announced")
        zip_archives.read_into(file, data)
    return content


class _LegacyStorages:
    """The storages of a file, allocated before their numbers are read."""

    def __init__(self, size):
        self.data, self.itemsizes = {}, {}
        self._left = size

    def load(self, dtype, key, location, count, view=None):
        """The storage of a description, or the part of it that `view` says."""
        itemsize = np.dtype(dtype).itemsize
        if key not in self.data:
            self._left -= count * itemsize
            if self._left < 0:
                raise ValueError("more numbers are announced than the file holds")
            self.data[key], self.itemsizes[key] = np.empty(count * itemsize, np.uint8), itemsize
        data = self.data[key]
        if count * itemsize != data.nbytes:
            raise ValueError("a storage has two sizes")
        if view is None:
            return Storage(data, dtype)
        _, start, length = view
        if not 0 <= start * itemsize <= (start + length) * itemsize <= data.nbytes:
            raise ValueError("a part of a storage reaches beyond it")
        return Storage(data[start * itemsize : (start + length) * itemsize], dtype)
