"""The names that a pickle of weights may use, and what stands for them.

NumPy's and PyTorch's own functions trust their arguments (a forged state lets an array reach
beyond its memory), so functions of ours take their places.
"""

import dataclasses
import math
import re
import types
from collections.abc import Callable
from typing import Any

import ml_dtypes  # noqa: F401  NumPy then knows bfloat16 by its name
import numpy as np

from hrjax.weights.readers.budget import Budget

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
TORCH_DTYPES = {*STORAGES.values(), "uint16", "uint32", "uint64"}
NUMPY_DTYPE = re.compile(r"[<>=|]?([?biufcSUVOmM]\d{0,9})|bfloat16")
MAX_AXES = 32
MAX_KEY = 10_000  # characters of a key
MAX_TUPLE_KEY = 16  # elements of a key that is a tuple
FLAT = (str, bytes, int, float, bool, types.NoneType)
SHOWN = 200  # characters of a file's text in a message


class ForbiddenError(ValueError):
    """A pickle refers to something that weights never need."""


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
    """Stands for a class or function that a pickle names; `call` replaces calls of it."""

    name: str
    call: Callable | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """The numbers behind a file's tensors: one-dimensional, contiguous, with a buffer of their own.

    `data` are their bytes.
    """

    data: np.ndarray
    dtype: str


class Array:
    """Stands for an array of NumPy, whose numbers come after it."""

    def __init__(self):
        self.array = None


class Dtype:
    """Stands for a dtype of NumPy, whose byte order comes after it."""

    def __init__(self, name: str):
        self.dtype = np.dtype(name)


class _Dropped:
    """Stands for every object that is not a weight, such as a config or a history."""


DROPPED = _Dropped()


def find(module: str, name: str) -> Any:
    """What stands for a name; raises ForbiddenError for names that weights never need."""
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    if module == "numpy.core" or module.startswith("numpy.core."):
        module = "numpy._core" + module.removeprefix("numpy.core")
    if (module, name) in GLOBALS:
        return GLOBALS[module, name]
    if (module, name) in IGNORED:
        return IGNORED_GLOBAL
    if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
        return STORAGES[name]
    if (module == "torch" and name in TORCH_DTYPES) or (module, name) == ("ml_dtypes", "bfloat16"):
        return name
    raise ForbiddenError(
        f"it wants to use {printable(f'{module}.{name}')}, which no file of weights needs. If you "
        "trust it, open it with the program that wrote it and save the dict of tensors alone"
    )


def printable(text: str) -> str:
    """`text` for a message: shortened, without control characters."""
    shown = "".join(x if x.isprintable() else "?" for x in text[:SHOWN])
    return shown if len(text) <= SHOWN else f"{shown}…"


def check_keys(budget: Budget, keys: list | tuple) -> None:
    """Raises ValueError unless the keys of a dict, or a set's elements, are quick to hash."""
    for key in keys:
        if type(key) is str and len(key) <= MAX_KEY:
            continue
        is_flat = type(key) in FLAT
        if type(key) is tuple and len(key) <= MAX_TUPLE_KEY and all(type(x) in FLAT for x in key):
            budget.spend_tuple_key()
            is_flat = True
        if not is_flat:
            raise ValueError(f"a key of its pickle is a {type(key).__name__}")
        for x in key if type(key) is tuple else (key,):
            if type(x) in (str, bytes) and len(x) > MAX_KEY:
                raise ValueError(f"a key of its pickle is {len(x)} characters long")
            if type(x) is int and x.bit_length() > 64:  # larger ones can be made to collide
                raise ValueError(f"a key of its pickle is an integer of {x.bit_length()} bits")


def set_state(target: Any, state: Any) -> None:
    """Gives an array or a dtype the state that NumPy writes; drops all other states."""
    if type(target) is Array and target.array is None:
        _, shape, dtype, fortran, data = state
        if _dtype(dtype).kind != "O":
            target.array = _array(data, dtype, shape, "F" if fortran else "C")
    elif type(target) is Dtype:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("the byte order of an array is not one of NumPy's")
        target.dtype = target.dtype.newbyteorder(state[1])
    # Attributes that PyTorch saves beside tensors and state dicts, and objects that are dropped.
    elif type(target) not in (Array, np.ndarray, dict, _Dropped):
        raise ForbiddenError(f"it changes a {type(target).__name__}")


def resolve(value: Any) -> Any:
    """The array or plain value for a stand-in; other values are unchanged."""
    if type(value) is Array:
        return value.array
    if type(value) is Storage:
        return value.data.view(value.dtype)
    if type(value) is Dtype:
        return str(value.dtype)
    if type(value) is Global:
        return value.name
    return {} if value is DROPPED else value


def without_name(value: tuple) -> Any:
    """The array of a tuple as Paddle writes it, with a tensor's own name before its numbers."""
    is_named = len(value) == 2 and type(value[0]) is str and type(value[1]) is np.ndarray
    return value[1] if is_named else value


# Calls. All take the budget of the file first.


def _tensor(budget, storage, offset, size, stride, *_):
    dtype = storage.dtype if type(storage) is Storage else None
    return _view(budget, storage, dtype, offset, size, stride)


def _tensor_of_dtype(budget, storage, offset, size, stride, requires_grad, hooks, dtype, *_):
    if type(dtype) is not str or dtype not in TORCH_DTYPES:
        raise ValueError("a tensor's dtype is not one of PyTorch's")
    return _view(budget, storage, dtype, offset, size, stride)


def _view(budget, storage, dtype, offset, size, stride):
    """A tensor: part of a storage, which it must not leave."""
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple:
        raise ValueError("a tensor is not made of a storage, a size and strides")
    if any(type(x) is not int for x in (offset, *size, *stride)) or len(size) > MAX_AXES:
        raise ValueError("a tensor's offset, size and strides are not a few integers")
    dtype = np.dtype(dtype)
    numbers, count = storage.data.nbytes // dtype.itemsize, math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (count > 0 and last >= numbers):
        raise ValueError(f"a tensor {printable(str(size))} reaches beyond its {numbers} numbers")
    if count == 0:
        return np.empty(size, dtype)
    budget.spend_view(count * dtype.itemsize)
    steps = tuple(step * dtype.itemsize for step in stride)
    # NumPy checks once more that all of it is inside the buffer.
    view = np.ndarray(size, dtype, storage.data, offset * dtype.itemsize, steps)
    view.flags.writeable = False
    return view


def _subclass(budget, rebuild, kind, arguments, *_):
    is_known = type(rebuild) is Global and rebuild.call in TENSOR_CALLS.values()
    if not is_known or type(arguments) is not tuple:
        raise ForbiddenError("it rebuilds a tensor with something other than PyTorch's functions")
    return rebuild.call(budget, *arguments)


def _parameter(budget, data, *_):
    return data


def _dtype(value):
    if type(value) is not Dtype:
        raise ValueError("an array has no dtype")
    return value.dtype


def _new_dtype(budget, name, *_):
    if type(name) is not str or not NUMPY_DTYPE.fullmatch(name):
        raise ValueError("an array's dtype is not one of NumPy's")
    return Dtype(name)


def _bytes(data):
    if type(data) is str:  # from Python 2
        return data.encode("latin-1")
    if type(data) not in (bytes, bytearray):
        raise ValueError("an array's numbers are not bytes")
    return data


def _array(data, dtype, shape, order):
    sizes = shape if type(shape) is tuple else (shape,)
    if any(type(n) is not int or n < 0 for n in sizes) or len(sizes) > MAX_AXES:
        raise ValueError(f"an array's shape is {printable(str(sizes))}")
    if _dtype(dtype).hasobject or order not in ("C", "F"):
        raise ValueError("an array holds objects, or its order is unknown")
    array = np.frombuffer(_bytes(data), _dtype(dtype))
    array.flags.writeable = False
    return array.reshape(sizes, order=order)


def _from_buffer(budget, data, dtype, shape, order, axes=None):
    if order == "K" and type(axes) is tuple:  # since NumPy 2.4
        return _array(data, dtype, shape, "C").transpose(axes)
    return _array(data, dtype, shape, order)


def _scalar(budget, dtype, data):
    return _array(data, dtype, (1,), "C")[0]


def _encode(budget, text, *_):
    if type(text) is not str:
        raise ValueError(f"its pickle encodes a {type(text).__name__}")
    return text.encode("latin-1")


def _dict(budget, pairs=()):
    pairs = [(key, value) for key, value in pairs]
    check_keys(budget, [key for key, _ in pairs])
    return dict(pairs)


def _set_of(kind):
    def make(budget, items=()):
        if type(items) not in (list, tuple):
            raise ValueError(f"its pickle makes a set of a {type(items).__name__}")
        check_keys(budget, items)
        return kind(items)

    return make


def _plain(kind, *accepted):
    """A call of a builtin type with at most one argument, of one of the `accepted` types."""

    def make(budget, *arguments):
        if len(arguments) > 1 or any(type(x) not in accepted for x in arguments):
            raise ForbiddenError(f"it calls {kind.__name__} with unusual arguments")
        return kind(*arguments)

    return make


def _byte_array(budget, data=b"", *_):
    return bytearray(_bytes(data))


def _complex(budget, real, imaginary):
    return complex(real, imaginary)


def _slice(budget, *limits):
    if any(type(x) not in (int, type(None)) for x in limits):
        raise ValueError("a slice's limits are not integers")
    return slice(*limits)


TENSOR_CALLS = {
    ("torch", "Tensor"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}
CALLS = {
    ("collections", "OrderedDict"): _dict,
    ("builtins", "tuple"): _plain(tuple, tuple, list),
    ("builtins", "list"): _plain(list, tuple, list),
    ("builtins", "dict"): _dict,
    ("builtins", "set"): _set_of(set),
    ("builtins", "frozenset"): _set_of(frozenset),
    ("builtins", "int"): _plain(int, int, bool),
    ("builtins", "float"): _plain(float, float),
    ("builtins", "bool"): _plain(bool, int, bool),
    ("builtins", "str"): _plain(str, str),
    ("builtins", "bytes"): _plain(bytes, bytes),
    ("builtins", "bytearray"): _byte_array,
    ("builtins", "complex"): _complex,
    ("builtins", "slice"): _slice,
    ("_codecs", "encode"): _encode,  # bytes, to Python 2
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _new_dtype,
    ("numpy._core.multiarray", "_reconstruct"): lambda budget, *_: Array(),
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("torch", "Size"): _plain(tuple, tuple, list),
    ("torch", "device"): lambda budget, *name: name,
    ("torch._tensor", "_rebuild_from_type_v2"): _subclass,
    **TENSOR_CALLS,
}
GLOBALS = {key: Global(".".join(key), call) for key, call in CALLS.items()}
# Training programs save configs and histories beside the weights; these are dropped.
IGNORED = {
    *(("builtins", "getattr"), ("builtins", "object"), ("copyreg", "_reconstructor")),
    *(("collections", "defaultdict"), ("collections", "deque"), ("collections", "Counter")),
    *(("argparse", "Namespace"), ("pathlib", "PosixPath"), ("pathlib._local", "PosixPath")),
    *(("yacs.config", "CfgNode"), ("addict.addict", "Dict"), ("easydict", "EasyDict")),
    *(("mmcv.utils.config", "ConfigDict"), ("mmengine.config.config", "ConfigDict")),
    ("mmengine.logging.history_buffer", "HistoryBuffer"),
}
IGNORED_GLOBAL = Global("an ignored object", lambda budget, *_: DROPPED)
