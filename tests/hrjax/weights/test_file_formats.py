"""Files of weights are read without the programs that wrote them."""

import hashlib
import io
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from hrjax.weights import file_formats

NUMBERS = np.arange(12, dtype=np.float32)
# What tests/golden/weights/README.md says that PyTorch was given.
TENSORS = {
    "dense": NUMBERS.reshape(3, 4),
    "turned": NUMBERS.reshape(3, 4).T,
    "every_second": NUMBERS[1::2],
    "repeated": np.full((2, 3), 5, np.float32),
    "half": NUMBERS.astype(np.float16),
    "bfloat16": NUMBERS.astype(ml_dtypes.bfloat16),
    "double": NUMBERS.astype(np.float64),
    "flag": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "parameter": NUMBERS[:2],
    "num_batches_tracked": np.array(7),
}


def check_tensors(found):
    assert found.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_reads_what_pytorch_wrote(golden, name):
    content = file_formats.read(golden / "weights" / name)
    check_tensors(content["state_dict"])
    assert content["epoch"] == 3
    assert content["model"] == "hrnet"
    assert content["best"] == 0.5
    assert content["shape"] == (2, 3)
    assert content["words"] == {"left", "right"}
    np.testing.assert_array_equal(content["means"], [0, 1, 2])
    first = content["optimizer"]["state"][0]
    np.testing.assert_allclose(first["exp_avg"], np.full((1, 2), 0.1), rtol=1e-6)


def test_reads_what_safetensors_wrote(golden):
    check_tensors(file_formats.read(golden / "weights" / "tensors.safetensors"))


def test_reads_paddle_and_numpy(tmp_path):
    state = {"dense": TENSORS["dense"], "half": TENSORS["half"]}
    names = {"StructuredToParameterName@@": {"dense": "conv2d_0.w_0"}}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(state | names, 4))
    np.savez(tmp_path / "a.npz", **state)
    paddle = file_formats.read(tmp_path / "a.pdparams")
    assert paddle.pop("StructuredToParameterName@@") == {"dense": "conv2d_0.w_0"}
    for found in (paddle, file_formats.read(tmp_path / "a.npz")):
        assert found.keys() == state.keys()
        for key, value in state.items():
            np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors"])
def test_single_numbers_stay_single_numbers(tmp_path, name):
    file_formats.write(tmp_path / name, {"alpha": np.float32(3).reshape(())}, None)
    assert file_formats.read(tmp_path / name)["alpha"].shape == ()


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "tensors.safetensors"])
def test_a_file_cut_short_anywhere_is_one_message(golden, tmp_path, name):
    data = (golden / "weights" / name).read_bytes()
    path = tmp_path / name
    for size in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(
            ValueError, match=rf"\({size} bytes\) is cut short, damaged or"
        ) as caught:
            file_formats.read(path)
        assert "\n" not in str(caught.value)


def test_damaged_numbers_are_noticed(golden, tmp_path):
    data = bytearray((golden / "weights" / "zip.pth").read_bytes())
    at = data.index(NUMBERS[:4].tobytes())
    data[at + 2] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(ValueError, match=r"is cut short, damaged or .*CRC"):
        file_formats.read(tmp_path / "a.pth")


class Harm:
    """Makes a folder when Python's own reader of pickles meets it."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_that_would_run_code_does_not(tmp_path):
    folder = tmp_path / "harm"
    bad = pickle.dumps({"weight": Harm(folder)}, 2)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", bad)
    numpy = io.BytesIO()
    np.savez(numpy, weight=np.array([Harm(folder)]))
    files = {"zip.pth": archive.getvalue(), "legacy.pt": bad, "a.pdparams": bad}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name} is not safe to read: .* posix.mkdir"):
            file_formats.read(tmp_path / name)
    (tmp_path / "a.npz").write_bytes(numpy.getvalue())
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        file_formats.read(tmp_path / "a.npz")
    assert not folder.exists()


def test_errors_say_what_was_found_and_expected(tmp_path):
    (tmp_path / "weights.h5").touch()
    with pytest.raises(ValueError, match=r"weights.h5 is; expected one of \.pth, .*\.npz"):
        file_formats.read(tmp_path / "weights.h5")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*missing.pth: there is no such"):
        file_formats.read(tmp_path / "missing.pth")
    (tmp_path / "list.pdparams").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="holds a list; expected a dict of arrays by name"):
        file_formats.read(tmp_path / "list.pdparams")
    safetensors.numpy.save_file({"a": NUMBERS}, tmp_path / "renamed.pth")
    with pytest.raises(ValueError, match="is cut short, damaged or not a file of weights"):
        file_formats.read(tmp_path / "renamed.pth")


@pytest.mark.parametrize("ending", file_formats.READERS)
def test_only_regular_files_are_opened(tmp_path, ending):
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / f"zero{ending}").symlink_to("/dev/zero")
    for name, kind in {"pipe": "named pipe", "folder": "directory", "zero": "device"}.items():
        path = tmp_path / f"{name}{ending}"
        with pytest.raises(ValueError, match=f"{name}{ending} is a {kind}; expected a regular"):
            file_formats.read(path)


@pytest.mark.parametrize(
    "error", [RecursionError, MemoryError, OSError, RuntimeError, AssertionError]
)
@pytest.mark.parametrize("ending", file_formats.READERS)
def test_whatever_a_reader_raises_is_one_message(tmp_path, monkeypatch, ending, error):
    def fail(file):
        raise error("first\x1b line\nsecond line" if error is not MemoryError else "")

    monkeypatch.setitem(file_formats.READERS, ending, fail)
    (tmp_path / f"a{ending}").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\..* \(1 bytes\) is cut short, damaged") as caught:
        file_formats.read(tmp_path / f"a{ending}")
    assert isinstance(caught.value.__cause__, error)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a.pth", "a.pdparams", "a.npz", "a.safetensors"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" * 9, b"\x80\x02.", b"<html>", bytes(99)])
def test_other_content_is_one_message(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name} \({len(data)} bytes\) is cut short, damaged or"):
        file_formats.read(tmp_path / name)


def test_a_card_that_is_not_a_text_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{file_formats.CARD: NUMBERS, "w": NUMBERS})
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps({file_formats.CARD: {}, "w": NUMBERS}))
    safetensors.numpy.save_file({file_formats.CARD: NUMBERS}, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.pdparams", "a.safetensors"):
        with pytest.raises(ValueError, match=rf"{name} .*\(its model.json is not a text\)"):
            file_formats.read(tmp_path / name)


def test_a_long_list_of_tensors_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((2**25).to_bytes(8, "little") + b"{")
    with pytest.raises(ValueError, match=r"its list of tensors has 33554432 bytes, more than"):
        file_formats.read(tmp_path / "a.safetensors")


def test_the_sha256_of_a_file_can_be_required(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, w=NUMBERS)
    digits = hashlib.sha256(file.read_bytes()).hexdigest()
    for required in (digits, digits[:8], digits[:12].upper()):
        assert file_formats.find(f"{file}#sha256={required}") == file
    with pytest.raises(ValueError, match=rf"a.npz has the SHA-256 {digits}, expected 00000000"):
        file_formats.find(f"{file}#sha256=00000000")
    with pytest.raises(ValueError, match=r"is not a file of weights; only files have a SHA-256"):
        file_formats.find(f"{tmp_path}#sha256=00000000")
    with pytest.raises(FileNotFoundError, match="missing"):
        file_formats.find(f"{tmp_path}/missing.npz#sha256=00000000")


class Full:
    """Raises an error when it is written."""

    def __array__(self, *_, **__):
        raise OSError("the disk is full")


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_a_file_is_written_completely_or_not_at_all(tmp_path, name):
    file_formats.write(tmp_path / name, {"w": NUMBERS}, None)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(OSError, match="the disk is full"):
        file_formats.write(tmp_path / name, {"w": NUMBERS, "bad": Full()}, None)
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]
