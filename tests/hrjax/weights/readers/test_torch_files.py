"""Tensors of PyTorch stay inside their storages, and storages inside their file."""

import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from hrjax.weights import file_formats
from tests.hrjax.weights.seed_weights import (
    FOUR,
    integer,
    row,
    storage,
    table,
    tensor,
    text,
    torch_legacy,
    torch_zip,
)


def read(tmp_path, data, name="a.pth"):
    (tmp_path / name).write_bytes(data)
    return file_formats.read(tmp_path / name)


def refused(tmp_path, data, match):
    with pytest.raises(ValueError, match=match) as caught:
        read(tmp_path, data)
    assert str(tmp_path / "a.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


def array(shape, data):
    """The pickled array of NumPy."""
    start = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
    count = b"B" + struct.pack("<I", len(data)) + data
    return start + row(b"K\x01", row(*map(integer, shape)), dtype, b"\x89", count) + b"b"


@pytest.mark.parametrize("write", [torch_zip, torch_legacy])
def test_a_tensor_is_made_of_a_storage_only(tmp_path, write):
    extra = b"N" if write is torch_legacy else b""
    expanded = tensor(storage(extra=extra), 0, (2**23,), (0,))
    for source in (expanded, array((100, 100), b"\1" * 40_000), text("x"), b"N", row(b"N")):
        body = table(w=tensor(source, 99, (4,), (1,)))
        refused(tmp_path, write(body, None if source is expanded else {}), "not made of a storage")


BEYOND = {
    "further than its storage": (0, (5,), (1,)),
    "by its strides": (0, (2, 2), (3, 1)),
    "by its offset": (2**31 - 1, (1,), (1,)),
    "before its storage": (-1, (1,), (1,)),
    "backwards": (3, (2,), (-1,)),
    "by many steps": (0, (2**31 - 1,), (2**31 - 1,)),
}


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("write", [torch_zip, torch_legacy])
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, write, name):
    source = storage(extra=b"N" if write is torch_legacy else b"")
    refused(tmp_path, write(table(w=tensor(source, *BEYOND[name]))), "reaches beyond its 4 numbers")


def test_a_tensor_of_far_more_numbers_than_the_file_is_refused(tmp_path):
    body = table(w=tensor(size=(10**6, 10**6), stride=(0, 0)))
    refused(tmp_path, torch_zip(body), "describe far more numbers than it holds")
    many = {f"w{n}": tensor(size=(10**6,), stride=(0,)) for n in range(50)}
    refused(tmp_path, torch_zip(table(**many)), "describe far more numbers than it holds")
    found = read(tmp_path, torch_zip(table(w=tensor(size=(1000, 1000), stride=(0, 0)))))
    assert found["w"].shape == (1000, 1000)


def test_odd_tensors_are_read(tmp_path):
    body = table(
        scalar=tensor(offset=3, size=(), stride=()),
        empty=tensor(size=(0, 3), stride=(3, 1)),
        turned=tensor(size=(2, 2), stride=(1, 2)),
    )
    found = read(tmp_path, torch_zip(body))
    assert found["scalar"] == 3
    assert found["empty"].shape == (0, 3)
    np.testing.assert_array_equal(found["turned"], [[0, 2], [1, 3]])
    for x in found.values():
        assert not x.size or not x.flags.writeable


def of_dtype(offset, size, stride, dtype, count=16):
    """A pickled tensor of `_rebuild_tensor_v3`: a dtype beside a storage of bytes."""
    numbers = [row(*map(integer, values)) for values in (size, stride)]
    source = b"(" + text("storage") + b"ctorch.storage\nUntypedStorage\n"
    source += text("0") + text("cpu") + integer(count) + b"tQ"
    arguments = (source, integer(offset), *numbers, b"\x89", b"N", f"ctorch\n{dtype}\n".encode())
    return b"ctorch._utils\n_rebuild_tensor_v3\n" + row(*arguments) + b"R"


def test_bytes_with_a_dtype_beside_them(tmp_path):
    found = read(tmp_path, torch_zip(table(w=of_dtype(1, (2,), (2,), "float32"))))
    np.testing.assert_array_equal(found["w"], FOUR[1::2])
    half = read(tmp_path, torch_zip(table(w=of_dtype(0, (8,), (1,), "bfloat16"))))["w"]
    np.testing.assert_array_equal(half, FOUR.view(ml_dtypes.bfloat16))
    for size in (3, 2**30):
        body = table(w=of_dtype(0, (size,), (1,), "float64"))
        refused(tmp_path, torch_zip(body), r"reaches beyond its 2 numbers")
    refused(tmp_path, torch_zip(table(w=of_dtype(0, (4,), (1,), "uint8", count=15))), "announced")


def test_a_storage_has_the_length_that_its_entry_has(tmp_path):
    for count in (3, 5, 2**31 - 1):
        body = table(w=tensor(storage(count)))
        refused(tmp_path, torch_zip(body), rf"16 bytes where {4 * count} were announced")
    body = table(w=tensor(storage(kind="DoubleStorage")))
    refused(tmp_path, torch_zip(body), "16 bytes where 32 were announced")
    refused(tmp_path, torch_zip(table(w=tensor(storage(key="7")))), "a/data/7")


def test_a_legacy_file_cut_anywhere_is_refused(tmp_path):
    numbers = {"0": np.arange(1000, dtype=np.float32)}
    whole = torch_legacy(table(w=tensor(storage(1000, extra=b"N"), size=(1000,))), numbers)
    assert read(tmp_path, whole)["w"][-1] == 999
    for left in (0, 4, 3, 8, 3996):  # one number was once repeated a thousand times
        refused(tmp_path, whole[: len(whole) - 4000 + left], "cut short")


def test_a_legacy_storage_is_not_allocated_before_the_file_is_long_enough(tmp_path):
    body = table(w=tensor(storage(2**31 - 1, extra=b"N")))
    refused(tmp_path, torch_legacy(body), "more numbers are announced than the file holds")
    body = table(w=tensor(storage(4, extra=b"N")), v=tensor(storage(3, extra=b"N"), size=(3,)))
    refused(tmp_path, torch_legacy(body), "a storage has two sizes")


@pytest.mark.parametrize("view", [(2, 3), (-1, 2), (5, 0), (0, -1), (2**31 - 1, 2**31 - 1)])
def test_a_legacy_view_stays_inside_its_storage(tmp_path, view):
    view = row(text("1"), *map(integer, view))
    body = table(w=tensor(storage(extra=view), size=(0,)))
    refused(tmp_path, torch_legacy(body), "a part of a storage reaches beyond it")


def test_a_legacy_view_is_read(tmp_path):
    source = storage(extra=row(text("1"), integer(1), integer(2)))
    found = read(tmp_path, torch_legacy(table(w=tensor(source, size=(2,)))))
    np.testing.assert_array_equal(found["w"], [1, 2])


def test_bombs_are_refused_before_they_unpack(tmp_path):
    zeros = {"0": bytes(200_000_000)}
    body = table(w=tensor(storage(50_000_000), size=(50_000_000,)))
    data = torch_zip(body, zeros, zipfile.ZIP_DEFLATED)
    assert len(data) < 300_000
    refused(tmp_path, data, "claim to unpack to 2000")


@pytest.mark.parametrize("shape", [(2**40, 2**40), (2**62, 4), (2**62,) * 3, (1,) * 40, (2**70,)])
def test_shapes_that_overflow_are_refused(tmp_path, shape):
    size = b"(" + b"".join(b"\x8a\x09" + n.to_bytes(9, "little") for n in shape) + b"t"
    steps = b"(" + b"K\x00" * len(shape) + b"t"
    arguments = storage() + integer(0) + size + steps + b"\x89N"
    body = table(w=b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR")
    refused(tmp_path, torch_zip(body), "far more numbers|a few integers")
