"""Unpacks downloaded archives to where the readers look."""

import contextlib
import pathlib
import shutil
import tarfile
import zipfile
from collections.abc import Iterator

from data_pipelines.downloads import locks
from data_pipelines.downloads.sources import Source

ANNOTATION_ENDINGS = (".json", ".mat")


def is_placed(source: Source, root: pathlib.Path) -> bool:
    """Whether a source is below the root, and no process is at work on it or was interrupted."""
    return source.is_in(root) and not _mark(source, root).exists()


@contextlib.contextmanager
def missing(source: Source, root: pathlib.Path) -> Iterator[bool]:
    """Whether a source is missing below the root; until the end, no other process places it.

    Where the work is interrupted, a mark stays, and the source counts as missing.
    """
    root.mkdir(parents=True, exist_ok=True)
    with locks.hold(_mark(source, root), source.name) as was_interrupted:
        yield was_interrupted or not source.is_in(root)


def _mark(source, root):
    return root / f".{source.name}.unfinished"


def place(source: Source, file: pathlib.Path, root: pathlib.Path) -> None:
    """Unpacks an archive, or copies a single file, to where it belongs below the root."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        _place(source, file, root)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged archive leads to
        raise ValueError(f"{file} cannot be unpacked: {str(error)[:200] or repr(error)}") from error
    if not source.is_in(root):
        raise ValueError(
            f"{file} was unpacked into {root}, but there is no {' or '.join(source.proofs)}: it is "
            f"not the {source.name} of {source.page}"
        )


def _place(source, file, root):
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            _check_room(root, sum(entry.file_size for entry in archive.infolist()))
            archive.extractall(root)
    elif tarfile.is_tarfile(file):
        with tarfile.open(file) as archive:
            _unpack(archive, source, root)
    else:
        target = root / source.proofs[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _check_room(root, size):
    free = shutil.disk_usage(root).free
    if size > free:
        raise OSError(f"the archive unpacks to {size} bytes, and {root} has {free} free")


def _unpack(archive, source, root):
    _check_room(root, sum(member.size for member in archive.getmembers()))
    if not source.folder:
        archive.extractall(root, filter="data")
        return
    # Such archives differ in the folders around their files.
    folder = root / source.folder
    folder.mkdir(exist_ok=True)
    for member in archive.getmembers():
        name = pathlib.PurePosixPath(member.name).name
        if member.isfile() and name.endswith(ANNOTATION_ENDINGS):
            with (folder / name).open("wb") as target:
                shutil.copyfileobj(archive.extractfile(member), target)
