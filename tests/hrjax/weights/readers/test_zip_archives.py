"""Archives are read as PyTorch and NumPy write them; anything else is refused."""

import io
import struct
import zipfile

import numpy as np
import pytest

from hrjax.weights.readers.zip_archives import Archive


def packed(entries, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return bytearray(file.getvalue())


def opened(data):
    return Archive(io.BytesIO(data), len(data))


def refused(data, match, name="a"):
    with pytest.raises((ValueError, struct.error), match=match):
        opened(data).read(name)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_are_read(method):
    contents = {"a": b"x" * 100_000, "ä/b": b"", "c": bytes(range(256)) * 9000}
    archive = opened(packed(contents.items(), method))
    assert {name: archive.read(name).tobytes() for name in archive.entries} == contents
    assert archive.size == sum(map(len, contents.values()))


def test_entries_of_large_archives_are_read():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a", "w", force_zip64=True) as entry:
        entry.write(b"content")
    data = bytearray(file.getvalue())
    # The sizes and the place, as those of 4 GB and more are written.
    at = data.index(b"PK\x01\x02")
    size, place = struct.unpack_from("<L", data, at + 24)[0], 0
    extra = struct.pack("<2H3Q", 1, 24, size, size, place)
    data[at + 46 + 1 : at + 46 + 1] = extra
    data[at + 20 : at + 28] = b"\xff" * 8
    data[at + 42 : at + 46] = b"\xff" * 4
    data[at + 30 : at + 32] = struct.pack("<H", len(extra))
    end = data.index(b"PK\x05\x06")
    fields = (45, 45, 0, 0, 1, 1, end - at, at)
    data[end:end] = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, *fields)
    data[end + 56 : end + 56] = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    data[-10:-2] = b"\xff" * 8
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("a") == b"content"
    assert opened(data).read("a").tobytes() == b"content"


def test_the_checksum_is_compared():
    data = packed([("a", b"content")])
    data[data.index(b"content")] ^= 1
    refused(data, "wrong CRC-32 of the entry 'a'")


def test_encrypted_entries_are_refused():
    data = packed([("a", b"content")])
    data[data.index(b"PK\x01\x02") + 8] |= 1
    refused(data, "'a' is encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method):
    refused(packed([("a", b"content")], method), "compressed in a way that weights never are")


def test_entries_that_are_there_twice_or_overlap_are_refused():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = packed([("a", b"1"), ("a", b"2")])
    refused(data, "'a' is there twice")
    content = bytes(1000)
    data = packed([("a", content), ("b", content)])
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    refused(data, "'b' is not where the archive says", "b")
    many = packed([("a", content)])
    at = many.index(b"PK\x01\x02")
    entry = many[at : at + 47]
    rows = b"".join(entry[:46] + bytes([n]) for n in range(97, 123))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 26, 26, len(rows), at, 0)
    refused(many[:at] + rows + end, "entries of the archive overlap")


def test_sizes_that_do_not_hold_are_refused():
    data = packed([("a", b"x" * 1000)], zipfile.ZIP_DEFLATED)
    at = data.index(b"PK\x01\x02")
    for size in (0, 1, 999, 1001, 10**6):
        data[at + 24 : at + 28] = struct.pack("<L", size)
        refused(data, "has not the size that it claims")
    data[at + 24 : at + 28] = struct.pack("<L", 2**32 - 2)
    refused(data, "claim to unpack to 4294967294; expected at most 20 times")
    data = packed([("a", b"x" * 1000)])
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<L", 10)
    refused(data, "'a' has two sizes")


def test_zeros_may_be_compressed_and_bombs_may_not():
    zeros = packed([("a", bytes(100_000_000))], zipfile.ZIP_DEFLATED)
    assert len(zeros) < 100_000
    assert np.count_nonzero(opened(zeros).read("a")) == 0
    refused(packed([("a", bytes(140_000_000))], zipfile.ZIP_DEFLATED), "claim to unpack")


def test_a_list_of_entries_is_limited():
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 2**24, 0, 0)
    refused(bytes(2**24) + end, "too long or not at its end")
    refused(b"PK\x03\x04" + bytes(100), "the end of the zip archive is missing")
