"""Headers of .npz archives are parsed, not evaluated."""

import io
import zipfile

import numpy as np
import pytest

from hrjax.weights.readers import numpy_files


def read(tmp_path, header, numbers=bytes(16), version=b"\1\0"):
    width = 2 if version == b"\1\0" else 4
    head = b"\x93NUMPY" + version + len(header).to_bytes(width, "little") + header.encode()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", head + numbers)
    with (tmp_path / "a.npz").open("rb") as file:
        return numpy_files.read(file)["w"]


def header(descr="'<f4'", order="False", shape="(4,)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}   \n"


ARRAYS = {
    "scalar": np.float64(0.5),
    "empty": np.zeros((0, 3), np.float32),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i2"),
    "words": np.array(["left", "right"]),
    "complex": np.array([1j, 2]),
    "flags": np.array([True, False]),
    "fixed": np.array([b"a", b"bc"]),
    "deep": np.zeros((1,) * 20),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    with (tmp_path / "a.npz").open("rb") as file:
        found = numpy_files.read(file)
    with np.load(tmp_path / "a.npz") as archive:
        expected = dict(archive)
    assert found.keys() == expected.keys() == ARRAYS.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype
        assert array.shape == expected[name].shape


@pytest.mark.parametrize("version", [b"\1\0", b"\2\0", b"\3\0"])
def test_headers_of_other_programs_are_read(tmp_path, version):
    for text in (
        header(),
        "{'descr':'<f4','fortran_order':False,'shape':(4,)}",
        "{'shape': (4L,), 'fortran_order': False, 'descr': '<f4'}",
    ):
        assert read(tmp_path, text, version=version).shape == (4,)


REFUSED = {
    "a brace is missing": header()[:-6],
    "objects": header("'|O'"),
    "objects of eight bytes": header("'O8'"),
    "fields": header("[('a', '<f4')]"),
    "a list of dtypes": header("'f4,f4'"),
    "a shaped dtype": header("'(4,)f4'"),
    "no dtype": header("''"),
    "a negative side": header(shape="(-1,)"),
    "too many numbers": header(shape="(5,)"),
    "too few numbers": header(shape="(3,)"),
    "a huge shape": header(shape="(9223372036854775807, 4)"),
    "an overflow": header(shape="(4611686018427387904, 4, 0)"),
    "a number of 5,000 digits": header(shape=f"({'9' * 5000},)"),
    "a call": header(shape="(int('4'),)"),
    "a key that is twice there": header().replace("'shape'", "'descr'"),
    "nested": header(shape="(" * 3000 + ")" * 3000),
    "minus": header(shape="(" + "-" * 5000 + "1,)"),
    "too long a header": header() + " " * 20_000,
    "nothing": "",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_headers_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"header|dtype|Object|bytes|array"):
        read(tmp_path, REFUSED[name])


def test_an_entry_without_an_array_is_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w.npy", b"\x93NUMP")
    (tmp_path / "a.npz").write_bytes(file.getvalue())
    with (tmp_path / "a.npz").open("rb") as file, pytest.raises(ValueError, match="not an array"):
        numpy_files.read(file)
