"""Reads pickles of PyTorch, Paddle and NumPy as arrays, containers and plain values.

Python's own reader runs whatever code a pickle asks for. This one knows only the few types and
functions that files of weights need; anything else is an error before it is called.
"""

import collections
import math
import pickle
import typing
from collections.abc import Callable
from typing import Any

import ml_dtypes  # noqa: F401  NumPy then knows bfloat16 by its name
import numpy as np

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
TORCH_DTYPES = {*STORAGES.values(), "uint16", "uint32", "uint64"}


class ForbiddenError(ValueError):
    """A pickle refers to something that weights never need."""


class Unpickler(pickle.Unpickler):
    """Resolves the names in ALLOWED and IGNORED, and no others.

    `load_storage` returns the array behind a tensor's storage, from the file's description of it.
    """

    def __init__(self, file: typing.BinaryIO, load_storage: Callable | None = None):
        super().__init__(file, encoding="latin1")
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> typing.Any:
        """What a pickle may use under this name; raises ForbiddenError for anything else."""
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        module = module.replace("numpy.core", "numpy._core")
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if (module, name) in IGNORED:
            return _Ignored
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and name in TORCH_DTYPES:
            return name
        raise ForbiddenError(
            f"it wants to use {module}.{name}, which no file of weights needs. If you trust it, "
            "open it with the program that wrote it and save the dict of tensors alone"
        )

    def persistent_load(self, identifier: tuple) -> typing.Any:
        """The storage of a tensor; raises ForbiddenError for anything else outside the pickle."""
        kind, dtype = identifier[:2]
        if self._load_storage is None or kind != "storage" or dtype not in STORAGES.values():
            raise ForbiddenError(f"it refers to something outside the file: {str(identifier)[:80]}")
        return _Array(self._load_storage(*identifier[1:]))


def plain(content: Any) -> Any:
    """`content` with NumPy arrays in place of our stand-ins; all other entries are unchanged."""
    if isinstance(content, _Array):
        return content.array
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    # Paddle: a tensor's own name beside its numbers.
    if isinstance(content, tuple) and len(content) == 2 and isinstance(content[1], _Array):
        return content[1].array
    return content


# Functions that a pickle may call must be harmless for any arguments. NumPy's own are not (a forged
# state lets an array reach beyond its memory), so these replace them.


class _Array:
    """Holds an array: a given one, or the one in the state that NumPy writes."""

    def __init__(self, array=None):
        self.array = array

    def __setstate__(self, state):
        if self.array is not None:
            return  # attributes that PyTorch saves beside a tensor's numbers
        _, shape, dtype, fortran, data = state
        if dtype.name.kind == "O":
            return
        data = data.encode("latin1") if isinstance(data, str) else data  # from Python 2
        array = np.frombuffer(data, dtype.name).reshape(shape, order="F" if fortran else "C")
        self.array = array


class _Dtype:
    """NumPy's dtype: a name, and a byte order that is set later."""

    def __init__(self, name, *_):
        self.name = np.dtype(str(name))

    def __setstate__(self, state):
        self.name = self.name.newbyteorder(state[1])


class _Parameter:
    """PyTorch's parameter is its tensor."""

    def __new__(cls, data, *_):
        return data


class _Ignored(dict):
    """Replaces an object that is not a weight (a config, a logger's history) and keeps nothing."""

    def __init__(self, *_, **__):
        super().__init__()

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        """Accepts and drops an element that a pickle adds to a list."""


def _tensor(storage, offset, size, stride, *_):
    numbers = storage.array
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    beyond = last >= numbers.size and math.prod(size) > 0
    if beyond or min((offset, *size, *stride)) < 0:
        raise ValueError(f"a tensor {tuple(size)} reaches beyond its {numbers.size} numbers")
    strides = [step * numbers.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(numbers[offset:], size, strides, writeable=False)
    return _Array(view)


def _tensor_of_dtype(storage, offset, size, stride, requires_grad, hooks, dtype, *_):
    if dtype not in TORCH_DTYPES:
        raise ValueError(f"a tensor of {dtype}")
    return _tensor(_Array(storage.array.view(dtype)), offset, size, stride)


def _same(value, *_):
    return value


def _subclass(rebuild, kind, arguments, *_):
    if rebuild not in (_tensor, _tensor_of_dtype, _Parameter):
        raise ForbiddenError("it rebuilds a tensor with something other than PyTorch's functions")
    return rebuild(*arguments)


def _scalar(dtype, data):
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.name)[0]


def _from_buffer(data, dtype, shape, order):
    return _Array(np.frombuffer(data, dtype.name).reshape(shape, order=order))


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{("builtins", kind.__name__): kind for kind in (tuple, list, dict, set, int, float, bool)},
    **{("builtins", kind.__name__): kind for kind in (str, bytes, bytearray, complex, slice)},
    ("_codecs", "encode"): lambda text, _: str(text).encode("latin1"),  # bytes, to Python 2
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype,
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *name: name,
    ("torch", "Tensor"): _Parameter,
    ("torch.nn.parameter", "Parameter"): _Parameter,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch._utils", "_rebuild_parameter_with_state"): _same,
    ("torch._tensor", "_rebuild_from_type_v2"): _subclass,
}
# Training programs save configs and histories beside the weights; these are dropped.
IGNORED = {
    *(("builtins", "getattr"), ("builtins", "object"), ("copyreg", "_reconstructor")),
    *(("collections", "defaultdict"), ("collections", "deque"), ("collections", "Counter")),
    *(("argparse", "Namespace"), ("pathlib", "PosixPath"), ("pathlib._local", "PosixPath")),
    *(("yacs.config", "CfgNode"), ("addict.addict", "Dict"), ("easydict", "EasyDict")),
    *(("mmcv.utils.config", "ConfigDict"), ("mmengine.config.config", "ConfigDict")),
    ("mmengine.logging.history_buffer", "HistoryBuffer"),
}
