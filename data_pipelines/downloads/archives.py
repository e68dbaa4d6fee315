"""Unpacks downloaded archives to where the readers look."""

import pathlib
import shutil
import tarfile
import zipfile

from data_pipelines.downloads.sources import Source

ANNOTATION_ENDINGS = (".json", ".mat")


def place(source: Source, file: pathlib.Path, root: pathlib.Path) -> None:
    """Unpacks an archive, or moves a single file, to where it belongs below the root."""
    root.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(root)
    elif tarfile.is_tarfile(file):
        with tarfile.open(file) as archive:
            _unpack(archive, source, root)
    else:
        target = root / source.proofs[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    if not source.is_in(root):
        raise ValueError(
            f"{file} was unpacked into {root}, but there is no {' or '.join(source.proofs)}: it is "
            f"not the {source.name} of {source.page}"
        )


def _unpack(archive: tarfile.TarFile, source: Source, root: pathlib.Path) -> None:
    if not source.folder:
        archive.extractall(root, filter="data")
        return
    # Such archives differ in the folders around their files.
    folder = root / source.folder
    folder.mkdir(exist_ok=True)
    for member in archive.getmembers():
        name = pathlib.PurePosixPath(member.name).name
        if member.isfile() and name.endswith(ANNOTATION_ENDINGS):
            (folder / name).write_bytes(archive.extractfile(member).read())
