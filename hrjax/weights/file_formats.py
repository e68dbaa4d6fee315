"""Reads weights of PyTorch, Paddle, safetensors and NumPy without those programs; writes some."""

import os
import pathlib

import numpy as np
import safetensors.numpy

from data_pipelines.downloads import cache, checksums, web
from data_pipelines.files import require_regular_file
from data_pipelines.messages import choices
from hrjax.weights import model_card
from hrjax.weights.model_card import ModelCard
from hrjax.weights.readers import numpy_files, safe_pickle, torch_files
from hrjax.weights.readers.budget import Budget
from hrjax.weights.readers.pickled_types import ForbiddenError, printable

PROGRAM = ".onnx"  # the ending of exported networks, which `onnx_programs` opens
CARD = model_card.FILE  # the entry of .npz files, and of .safetensors' metadata, with the card
MAX_HEADER = 16 * 2**20  # bytes of the list of tensors of a .safetensors file


def find(path: str) -> pathlib.Path | None:
    """The file of weights or of a program at a path or https address; None for other paths.

    `#sha256=DIGITS` at the end of `path` requires the file's SHA-256, or its first digits.
    """
    source, digits = checksums.split(path)
    if web.is_address(source):
        name = cache.file_name(source) or source
        if not name.endswith(PROGRAM):
            _reader(name)
        return web.fetch(path)
    file = pathlib.Path(source)
    is_file = file.is_file() or source.endswith((*READERS, PROGRAM))
    if digits and not is_file:
        raise ValueError(f"{source} is not a file of weights; only files have a SHA-256")
    if digits:
        require_regular_file(file)
        checksums.require(file, digits)
    return file if is_file else None


def read(path: pathlib.Path) -> dict:
    """The contents of a file: arrays by name, or nested dicts of them among other entries.

    Files that `write` made also have the text of a model card, under CARD. Whatever a damaged or
    hostile file makes a reader raise becomes one ValueError with the file's name.
    """
    reader = _reader(path.name)
    try:
        require_regular_file(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no weights at {path.absolute()}: there is no such file{choices.instead_of(path)}"
        ) from error
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = _with_text_card(reader(file))
        except ForbiddenError as error:
            raise ValueError(f"{path} is not safe to read: {error}") from error
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            reason = printable(f"{kind}{error}".splitlines()[0])
            raise ValueError(
                f"{path} ({size} bytes) is cut short, damaged or not a file of weights "
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
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".npz":
            with temporary.open("wb") as file:
                np.savez(file, **tensors, **{name: np.array(text) for name, text in texts.items()})
        else:
            arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
            safetensors.numpy.save_file(arrays, temporary, metadata=texts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _reader(name):
    readers = [reader for suffix, reader in READERS.items() if name.endswith(suffix)]
    if not readers:
        raise ValueError(
            f"cannot tell from its name what {name} is; expected one of "
            f"{', '.join([*READERS, PROGRAM])}"
        )
    return readers[0]


def _with_text_card(content):
    if isinstance(content, dict) and not isinstance(content.get(CARD, ""), str):
        raise ValueError(f"its {CARD} is not a text")
    return content


def _read_pickle(file):
    size = os.fstat(file.fileno()).st_size
    return safe_pickle.load(file, size, Budget(size))


def _read_npz(file):
    content = numpy_files.read(file)
    if CARD in content and content[CARD].shape == () and content[CARD].dtype.kind == "U":
        content[CARD] = str(content[CARD])
    return content


def _read_safetensors(file):
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its list of tensors has {length} bytes, more than {MAX_HEADER}")
    with safetensors.safe_open(file.name, framework="numpy") as opened:
        metadata = opened.metadata() or {}
    card = {CARD: metadata[CARD]} if CARD in metadata else {}
    return safetensors.numpy.load_file(file.name) | card


WRITTEN = (".npz", ".safetensors")  # the endings that `write` takes
READERS = {
    **dict.fromkeys((".pth", ".pth.tar", ".pt", ".bin"), torch_files.read),
    ".pdparams": _read_pickle,
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
}
