"""Reads the zip archives that PyTorch and NumPy write.

Only what these programs use is accepted: entries that are stored or deflated, none twice, none
that overlap, all with their right checksum.
"""

import dataclasses
import struct
import zlib
from typing import BinaryIO

import numpy as np

START = b"PK\x03\x04"
STORED, DEFLATED = 0, 8
MAX_DIRECTORY = 8 * 2**20  # bytes of the list of entries; 100,000 entries fit
MAX_RATIO = 20  # of an archive's content to its size; weights shrink to half at most
SMALL = 128 * 2**20  # bytes that the content of any archive may have
CHUNK = 2**20

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry: its name, method, checksum, sizes in the file and unpacked, and place."""

    name: str
    method: int
    checksum: int
    packed: int
    size: int
    place: int


class Archive:
    """The entries of a zip archive by name; `size` is the sum of their sizes."""

    def __init__(self, file: BinaryIO, file_size: int):
        self._file = file
        directory, self._end = _read_directory(file, file_size)
        self.entries = _parse(directory)
        self.size = sum(entry.size for entry in self.entries.values())
        if sum(entry.packed for entry in self.entries.values()) > file_size:
            raise ValueError("entries of the archive overlap")
        if self.size > max(MAX_RATIO * file_size, SMALL):
            raise ValueError(
                f"its {file_size} bytes claim to unpack to {self.size}; expected at most "
                f"{MAX_RATIO} times its size"
            )

    def read(self, name: str) -> np.ndarray:
        """The bytes of an entry, one-dimensional and in a buffer of their own."""
        entry = self.entries[name]
        self._seek(entry)
        data = np.empty(entry.size, np.uint8)
        if entry.method == STORED:
            read_into(self._file, data)
        else:
            _inflate(self._file, entry, data)
        if zlib.crc32(data) != entry.checksum:
            raise ValueError(f"wrong CRC-32 of the entry {_shown(name)}")
        return data

    def _seek(self, entry):
        self._file.seek(entry.place)
        header = self._file.read(LOCAL.size)
        mark, _, flags, _, _, _, _, _, _, length, extra = LOCAL.unpack(header)
        name = self._file.read(length)
        start = entry.place + LOCAL.size + length + extra
        if mark != START or flags & 1 or _decode(name, flags) != entry.name:
            raise ValueError(f"the entry {_shown(entry.name)} is not where the archive says")
        if start + entry.packed > self._end:
            raise ValueError(f"the entry {_shown(entry.name)} reaches beyond the archive")
        self._file.seek(start)


def read_into(file: BinaryIO, data: np.ndarray) -> None:
    """Fills an array of bytes from a file; raises ValueError where too few are left."""
    count = file.readinto(memoryview(data)) if data.nbytes else 0
    if count != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes are announced and {count} are left")


def _read_directory(file, file_size):
    """The list of entries, and where it begins."""
    file.seek(max(0, file_size - END.size - 2**16))
    before, tail = file.tell(), file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < END.size:
        raise ValueError("the end of the zip archive is missing")
    _, disk, disks, _, _, size, place, comment = END.unpack_from(tail, at)
    end = before + at
    if at + END.size + comment != len(tail) or disk or disks:
        raise ValueError("the end of the zip archive is damaged")
    locator = tail[max(0, at - LOCATOR64.size) : at]
    if locator.startswith(b"PK\x06\x07") and len(locator) == LOCATOR64.size:
        _, _, end, _ = LOCATOR64.unpack(locator)
        file.seek(end)
        mark, *_, size, place = END64.unpack(file.read(END64.size))
        if mark != b"PK\x06\x06":
            raise ValueError("the end of the zip archive is damaged")
    if size > MAX_DIRECTORY or place + size != end:
        raise ValueError("the list of the zip archive's entries is too long or not at its end")
    file.seek(place)
    return file.read(size), place


def _parse(directory):
    entries, at = {}, 0
    while at < len(directory):
        fields = CENTRAL.unpack_from(directory, at)
        mark, _, _, flags, method, _, _, checksum, packed, size, length, extra, comment = fields[
            :13
        ]
        name_end = at + CENTRAL.size + length
        name = _decode(directory[at + CENTRAL.size : name_end], flags)
        sizes = _sizes64(size, packed, fields[-1], directory[name_end : name_end + extra])
        entry = Entry(name, method, checksum, sizes[1], sizes[0], sizes[2])
        _check(mark, flags, entry, entries)
        entries[name] = entry
        at = name_end + extra + comment
    return entries


def _check(mark, flags, entry, entries):
    name = _shown(entry.name)
    if mark != b"PK\x01\x02":
        raise ValueError("the list of the zip archive's entries is damaged")
    if flags & 1:
        raise ValueError(f"the entry {name} is encrypted")
    if entry.method not in (STORED, DEFLATED):
        raise ValueError(f"the entry {name} is compressed in a way that weights never are")
    if entry.method == STORED and entry.packed != entry.size:
        raise ValueError(f"the entry {name} has two sizes")
    if entry.name in entries:
        raise ValueError(f"the entry {name} is there twice")


def _sizes64(size, packed, place, extra):
    """The size, the packed size and the place, of which those of large files are in `extra`."""
    values = [size, packed, place]
    large = [i for i, value in enumerate(values) if value == 0xFFFFFFFF]
    while large and len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            numbers = struct.unpack_from(f"<{len(large)}Q", extra, 4)
            return [dict(zip(large, numbers, strict=True)).get(i, x) for i, x in enumerate(values)]
        extra = extra[4 + length :]
    return values


def _inflate(file, entry, data):
    inflater, left, done = zlib.decompressobj(-zlib.MAX_WBITS), entry.packed, 0
    while not inflater.eof:
        packed = inflater.unconsumed_tail or file.read(min(CHUNK, left))
        if not inflater.unconsumed_tail:
            left -= len(packed)
        # One byte more than expected shows that there is more.
        part = inflater.decompress(packed, min(CHUNK, len(data) - done + 1))
        if done + len(part) > len(data) or (not packed and not part):
            break
        data[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if done != len(data) or not inflater.eof:
        raise ValueError(f"the entry {_shown(entry.name)} has not the size that it claims")


def _decode(name, flags):
    return name.decode("utf-8" if flags & 0x800 else "cp437")


def _shown(name):
    return repr(name[:80])
