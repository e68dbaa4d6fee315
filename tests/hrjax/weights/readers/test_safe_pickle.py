"""Pickles are read as data: nothing in them runs."""

import argparse
import collections
import io
import os
import pickle

import numpy as np
import pytest

from hrjax.weights.readers import safe_pickle
from hrjax.weights.readers.budget import Budget
from hrjax.weights.readers.pickled_types import ForbiddenError, Storage


def load(data, load_storage=None):
    return safe_pickle.load(io.BytesIO(data), len(data), Budget(len(data)), load_storage)


class Call:
    """Pickles as a call of a function, which Python's own reader would make."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numpy_are_read_in_every_protocol(protocol, order):
    matrix = np.arange(6, dtype=np.float32).reshape((2, 3), order=order)
    content = {
        "matrix": matrix,
        "column": matrix[:, 1],
        "big_endian": np.arange(3, dtype=">i2"),
        "scalar": np.float64(0.5),
        "words": np.array(["left", "right"]),
    }
    found = load(pickle.dumps(content, protocol))
    assert found.keys() == content.keys()
    for key, value in content.items():
        np.testing.assert_array_equal(found[key], value)


def test_tensors_beside_their_names_are_read_as_paddle_writes_them():
    state = {"conv.weight": Call(tuple, ("conv2d_0.w_0", np.ones(2, np.float32)))}
    np.testing.assert_array_equal(load(pickle.dumps(state, 2))["conv.weight"], [1, 1])


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_that_would_do_harm_ends_the_reading(protocol, tmp_path):
    target = tmp_path / "harm"
    calls = {
        "posix.mkdir": Call(os.mkdir, str(target)),
        "builtins.eval": Call(eval, f"__import__('os').mkdir({str(target)!r})"),
        "builtins.exec": Call(exec, f"__import__('os').mkdir({str(target)!r})"),
    }
    for name, call in calls.items():
        data = pickle.dumps({"state_dict": {"weight": np.ones(2)}, "meta": call}, protocol)
        with pytest.raises(ForbiddenError, match=f"wants to use .*{name[-4:]}"):
            load(data)
        assert not target.exists()
        pickle.loads(data)  # it is what it claims to be
        target.rmdir()


def test_configs_and_histories_are_left_out_and_do_no_harm():
    kept = Call(getattr, argparse.Namespace, "__init__")
    content = {
        "options": argparse.Namespace(lr=0.1),
        "milestones": collections.Counter([170, 200]),
        "method": kept,
        "weight": np.ones(2),
    }
    found = load(pickle.dumps(content, 2))
    np.testing.assert_array_equal(found.pop("weight"), [1, 1])
    assert found == {"options": {}, "milestones": {}, "method": {}}


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"


def rebuild(offset, size, stride):
    """A pickle of a tensor on a storage of four numbers."""

    def integers(values):
        return b"".join(b"J" + n.to_bytes(4, "little", signed=True) for n in values)

    view = integers([offset]) + b"(" + integers(size) + b"t(" + integers(stride) + b"t"
    return b"\x80\x02" + TENSOR + b"(" + STORAGE + view + b"\x89NtR."


def four_numbers(dtype, key, location, count):
    return Storage(np.arange(count, dtype=dtype).view(np.uint8), dtype)


def test_tensors_are_views_of_their_storage():
    found = load(rebuild(1, (2,), (2,)), four_numbers)
    np.testing.assert_array_equal(found, [1, 3])


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (5,), (1,)), (0, (2, 2), (3, 1)), (4, (1,), (1,)), (-1, (1,), (1,)), (3, (2,), (-1,))],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(offset, size, stride):
    with pytest.raises(ValueError, match="reaches beyond its 4 numbers"):
        load(rebuild(offset, size, stride), four_numbers)


def test_a_made_up_state_cannot_stretch_an_array():
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    dtype = b"cnumpy\ndtype\n(X\x02\0\0\0f4tR"
    state = b"(K\x01(J\xff\xff\xff\x00t" + dtype + b"\x89C\x04\0\0\0\0tb."
    with pytest.raises(ValueError, match="cannot reshape array of size 1"):
        load(b"\x80\x03" + array + state)


def test_parameters_of_the_first_pytorch_are_their_tensors():
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + STORAGE + b"K\x00(K\x04t(K\x01ttR"
    parameter = b"ctorch.nn.parameter\nParameter\n" + tensor + b"\x85\x81(\x88\x89Ntb"
    found = load(b"\x80\x02" + parameter + b".", four_numbers)
    np.testing.assert_array_equal(found, [0, 1, 2, 3])
