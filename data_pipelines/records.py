"""A dataset's images in a few large files: ArrayRecord shards, written by tensorflow-datasets.

They are below the dataset's root, in the folder `splits.RECORDS`. A record is the unchanged bytes
of one image file, under a name made from its path. Records come in parts of PART_IMAGES, each of
them complete or absent, so that an interrupted build continues with the next part. TensorFlow is
not needed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import pathlib
import shutil
import typing
from collections.abc import Iterator, Sequence

import grain
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines import images, json_files
from data_pipelines.splits import RECORDS, Split

PART_IMAGES = 1000  # some 160 MB of COCO


class Images(tfds.core.GeneratorBasedBuilder):
    """The records of one part: unchanged image files with their names, in the order of `files`."""

    VERSION = tfds.core.Version("1.0.0")
    url_infos: typing.ClassVar = {}  # nothing is downloaded; tfds would search for lists of it

    def __init__(self, files: dict[str, pathlib.Path], data_dir: pathlib.Path):
        self._files = files
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(), "name": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Encoded images.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(names=list(self._files), sha256=[]),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict:
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, (name, file) in enumerate(self._files.items()):
            image = images.read_bytes(file)
            self.info.metadata["sha256"].append(hashlib.sha256(image).hexdigest())
            yield number, {"image": image, "name": name}


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """The image of a split's row as bytes; `rows` are record numbers, counted over all `shards`."""

    shards: tuple[str, ...]
    rows: np.ndarray

    @functools.cached_property
    def _source(self) -> grain.sources.ArrayRecordDataSource:
        return _open(self.shards)

    def __call__(self, row: int) -> bytes:
        _, image = _read(self._source, int(self.rows[row]))
        return image

    def __reduce__(self) -> tuple:
        return Encoded, (self.shards, self.rows)


def build(root: str, files: dict[str, pathlib.Path]) -> Iterator[int]:
    """Writes records of those `files`, by name, that the root's records lack.

    Yields, after each part, how many of the files are in records. Each part is read back and
    compared with the checksums of its files before it counts.
    """
    folder = pathlib.Path(root, RECORDS)
    known = set(index(root))
    missing = [name for name in files if name not in known]
    done = len(files) - len(missing)
    yield done
    first = 1 + max((_number(part) for part in _parts(folder)), default=-1)
    tfds.disable_progress_bar()
    for start in range(0, len(missing), PART_IMAGES):
        names = missing[start : start + PART_IMAGES]
        number = first + start // PART_IMAGES
        part = folder / f"part_{number:05d}"
        shutil.rmtree(part, ignore_errors=True)  # left by an interrupted build
        builder = Images({name: files[name] for name in names}, part)
        with contextlib.redirect_stdout(io.StringIO()):  # tfds prints its progress
            builder.download_and_prepare(file_format="array_record")
        shutil.rmtree(part / "downloads", ignore_errors=True)
        broken = verify_part(pathlib.Path(builder.data_dir))
        if broken:
            shutil.rmtree(builder.data_dir)
            raise OSError(
                f"{builder.data_dir}: {len(broken)} records read back differ from their files, "
                f"e.g. {broken[0]}; the disk or the memory is unreliable. The part was removed"
            )
        done += len(names)
        yield done


def verify(root: str) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """Each part of the root's records with the names of the images that fail their checksums."""
    for part in _parts(pathlib.Path(root, RECORDS)):
        yield part, verify_part(part)


def verify_part(part: pathlib.Path) -> list[str]:
    """The names of a part's images that can't be read or fail their checksums."""
    metadata, broken = _metadata(part), []
    try:
        source = _open(_shards(part))
    except ValueError:
        return metadata["names"]
    for number, (name, expected) in enumerate(
        zip(metadata["names"], metadata["sha256"], strict=True)
    ):
        try:
            stored, image = _read(source, number)
            whole = (stored.decode(), hashlib.sha256(image).hexdigest()) == (name, expected)
        except ValueError:
            whole = False
        if not whole:
            broken.append(name)
    return broken


def index(root: str) -> dict[str, int]:
    """The names of the root's records and their numbers, over all parts."""
    parts = _parts(pathlib.Path(root, RECORDS))
    names = [name for part in parts for name in _metadata(part)["names"]]
    return {name: number for number, name in enumerate(names)}


def name(path: str, root: str) -> str:
    """The name of an image's record: its path below the root, or below the root's images."""
    # COCO's folders may be in either place, and both must give the same records.
    return path.removeprefix(str(pathlib.Path(root)) + os.sep).removeprefix("images" + os.sep)


def attach(split: Split, root: str) -> Split:
    """The split with its images taken from the root's records instead of files."""
    numbers = index(root)
    names = [name(path, root) for path in split.columns["image_path"].tolist()]
    absent = [own for own in names if own not in numbers]
    if absent:
        raise ValueError(
            f"{pathlib.Path(root, RECORDS)} has no records of {len(set(absent))} images of "
            f"{split.name}, e.g. {absent[0]}; write them with: "
            "python scripts/prepare_data.py build"
        )
    parts = _parts(pathlib.Path(root, RECORDS))
    shards = tuple(shard for part in parts for shard in _shards(part))
    rows = np.array([numbers[own] for own in names], np.int32)
    return dataclasses.replace(split, encoded=Encoded(shards, rows))


def _parts(folder: pathlib.Path) -> list[pathlib.Path]:
    # tensorflow-datasets writes into …incomplete… and renames the folder when it is complete.
    files = sorted(folder.glob("part_*/images/*/dataset_info.json"))
    return [file.parent for file in files if ".incomplete" not in file.parent.name]


def _number(part: pathlib.Path) -> int:
    return int(part.parent.parent.name.removeprefix("part_"))


def _metadata(part: pathlib.Path) -> dict:
    metadata = json_files.read_json(part / "metadata.json", expected=dict)
    names, sums = metadata.get("names"), metadata.get("sha256")
    if not _texts(names) or not _texts(sums) or len(names) != len(sums):
        raise ValueError(
            f"{part / 'metadata.json'} does not name the images of its records, each with its "
            "checksum; remove the folder and build again"
        )
    return metadata


def _texts(values):
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _shards(part: pathlib.Path) -> list[str]:
    return [str(file) for file in sorted(part.glob("*.array_record*"))]


def _open(shards: Sequence[str]) -> grain.sources.ArrayRecordDataSource:
    try:
        return grain.sources.ArrayRecordDataSource(list(shards))
    except RuntimeError as error:
        raise ValueError(f"records can't be opened: {error}; build them again") from error


def _read(source: Sequence, number: int) -> tuple[bytes, bytes]:
    """A record's name and image."""
    try:
        features = tf_example_pb2.Example.FromString(source[number]).features.feature
        return tuple(features[key].bytes_list.value[0] for key in ("name", "image"))
    except Exception as error:  # array_record and protobuf raise errors of their own
        raise ValueError(f"the record {number} can't be read: {error}") from error
