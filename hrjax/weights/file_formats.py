"""Reads weights of PyTorch, Paddle, safetensors and NumPy without those programs; writes some."""

import functools
import io
import pathlib
import pickle
import struct
import urllib.parse
import zipfile
import zlib

import numpy as np
import safetensors.numpy

from data_pipelines.downloads import web
from hrjax.weights import model_card, safe_pickle
from hrjax.weights.model_card import ModelCard

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first object that torch.save wrote before PyTorch 1.6
CARD = model_card.FILE  # the entry of .npz files, and of .safetensors' metadata, with the card

# Exceptions of the readers when a file is cut short, damaged or of another kind.
BROKEN = (
    *(pickle.UnpicklingError, EOFError, zipfile.BadZipFile, zlib.error, struct.error),
    *(safetensors.SafetensorError, AttributeError, LookupError, TypeError, ValueError),
    *(MemoryError, OverflowError, RecursionError, NotImplementedError),
)


def find(path: str) -> pathlib.Path | None:
    """The file of weights at a path or https address; None where `path` names no such file."""
    if web.is_address(path):
        _reader(urllib.parse.urlsplit(path).path)
        return web.fetch(path)
    file = pathlib.Path(path)
    return file if file.is_file() or path.endswith(tuple(READERS)) else None


def read(path: pathlib.Path) -> dict:
    """The contents of a file: arrays by name, or nested dicts of them among other entries.

    Files that `write` made also have the text of a model card, under CARD.
    """
    reader = _reader(path.name)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path.absolute()}: there is no such file")
    try:
        content = reader(path)
    except safe_pickle.ForbiddenError as error:
        raise ValueError(f"{path} is not safe to read: {error}") from error
    except BROKEN as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is cut short, damaged or not a file of weights "
            f"({reason}); get it again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected a dict of arrays by name"
        )
    return content


def write(path: pathlib.Path, tensors: dict[str, np.ndarray], card: ModelCard | None) -> None:
    """Writes arrays by name and the card as .npz or .safetensors, completely or not at all."""
    texts = {CARD: model_card.to_text(card)} if card else {}
    temporary = path.with_name(f"{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        with temporary.open("wb") as file:
            np.savez(file, **tensors, **{name: np.array(text) for name, text in texts.items()})
    else:
        arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        safetensors.numpy.save_file(arrays, temporary, metadata=texts)
    temporary.replace(path)


def _reader(name):
    readers = [reader for suffix, reader in READERS.items() if name.endswith(suffix)]
    if not readers:
        raise ValueError(
            f"cannot tell from its name what {name} is; expected one of {', '.join(READERS)}"
        )
    return readers[0]


def _read_torch(path):
    if zipfile.is_zipfile(path):
        return _read_torch_zip(path)
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            raise ValueError("the end of the zip archive is missing")
        file.seek(0)
        return _read_torch_legacy(file)


def _read_torch_zip(path):
    """PyTorch 1.6 and later: an archive of one pickle and one entry for each storage."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        main = next((name for name in names if name.endswith("/data.pkl")), None)
        if main is None:
            raise ValueError("the archive has no data.pkl")
        root = main.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")

        @functools.cache
        def storage(dtype, key):
            return np.frombuffer(archive.read(f"{root}data/{key}"), dtype)

        def load_storage(dtype, key, *_):
            return storage(dtype, key)

        unpickler = safe_pickle.Unpickler(io.BytesIO(archive.read(main)), load_storage)
        return safe_pickle.plain(unpickler.load())


def _read_torch_legacy(file):
    """PyTorch before 1.6: some pickles, then the numbers of their tensors."""
    if safe_pickle.Unpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("it does not begin as PyTorch's files do")
    safe_pickle.Unpickler(file).load()  # the version of the format
    if not safe_pickle.Unpickler(file).load()["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    storages = {}

    def load_storage(dtype, key, location, count, view=None):
        if key not in storages:
            storages[key] = np.empty(count, dtype)  # filled in below
        if view is None:
            return storages[key]
        _, start, size = view
        return storages[key][start : start + size]

    content = safe_pickle.Unpickler(file, load_storage).load()
    keys = safe_pickle.Unpickler(file).load()
    if {*keys} != storages.keys():
        raise ValueError("the numbers of some tensors are missing")
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        numbers = storages[key]
        if count != numbers.size:
            raise ValueError(f"{count} numbers where {numbers.size} were announced")
        numbers[:] = np.frombuffer(file.read(numbers.nbytes), numbers.dtype)
    return safe_pickle.plain(content)


def _read_pickle(path):
    with path.open("rb") as file:
        return safe_pickle.plain(safe_pickle.Unpickler(file).load())


def _read_npz(path):
    with np.load(path, allow_pickle=False) as archive:
        content = dict(archive)
    if CARD in content:
        content[CARD] = str(content[CARD])
    return content


def _read_safetensors(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    card = {CARD: metadata[CARD]} if CARD in metadata else {}
    return safetensors.numpy.load_file(path) | card


WRITTEN = (".npz", ".safetensors")  # the endings that `write` takes
READERS = {
    **dict.fromkeys((".pth", ".pth.tar", ".pt", ".bin"), _read_torch),
    ".pdparams": _read_pickle,
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
}
