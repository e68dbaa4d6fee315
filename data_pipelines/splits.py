"""What every reader returns: one split of a dataset as columns."""

import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_pipelines.ground_truth import Truth
from data_pipelines.skeletons import Skeleton

# The folder below a dataset's root that holds its images as records (see `records`).
RECORDS = "records"
EXAMPLE_KEYS = ("image_path", "center", "size", "keypoints", "visible")
# Also in examples, where the dataset states it: the image's (height, width).
IMAGE_SIZE = "image_size"


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One split of a dataset: a column per field, a row per person.

    `columns` holds EXAMPLE_KEYS and whatever the dataset's metric needs; `annotation_file` is the
    file they came from; `dropped` counts the annotations that are not used, by reason. `encoded`
    gives the bytes of a row's image where these are in records and not in files of their own.
    `truth` is the file's ground truth where it is in COCO's format, and `defects` names people who
    are dropped because the file is wrong about them, by what is wrong.

    A pickled split, as worker processes get it, is the path of a folder with its columns, which
    all of them map into their memory: there is one copy, whatever their number. It has no truth.
    """

    name: str
    skeleton: Skeleton
    annotation_file: str
    columns: Mapping[str, np.ndarray]
    dropped: Mapping[str, int]
    encoded: Callable[[int], bytes] | None = None
    truth: Truth | None = None
    defects: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["image_path"])

    def __getitem__(self, row: int) -> dict:
        """The example of one person: EXAMPLE_KEYS and `index`, its row in the split.

        Where the dataset states it also `image_size`, and with `encoded` the key of that name: what
        gives the bytes of the image.
        """
        example = {key: self.columns[key][row] for key in EXAMPLE_KEYS}
        if IMAGE_SIZE in self.columns:
            example[IMAGE_SIZE] = self.columns[IMAGE_SIZE][row]
        example["image_path"] = os.fsdecode(example["image_path"])
        example["index"] = np.int32(row)
        if self.encoded is not None:
            example["encoded"] = functools.partial(self.encoded, row)
        return example

    def __reduce__(self) -> tuple:
        fields = (self.name, self.skeleton, self.annotation_file, self._shared, dict(self.dropped))
        return _open_shared, (*fields, self.encoded)

    @functools.cached_property
    def _shared(self) -> str:
        """A temporary folder with a file per column, removed with the split."""
        folder = tempfile.mkdtemp(prefix="hrjax_columns_")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name, column in self.columns.items():
            if column.dtype.kind in "TO":  # such strings can't be mapped
                column = np.array([os.fsencode(text) for text in column], np.bytes_)
            np.save(f"{folder}/{name}.npy", column)
        return folder


def _open_shared(
    name: str,
    skeleton: Skeleton,
    annotation_file: str,
    folder: str,
    dropped: Mapping[str, int],
    encoded: Callable[[int], bytes] | None,
) -> Split:
    files = sorted(pathlib.Path(folder).glob("*.npy"))
    columns = {file.stem: np.load(file, mmap_mode="r") for file in files}
    return Split(name, skeleton, annotation_file, columns, dropped, encoded)


def find(root: str, candidates: Sequence[str], help_text: str) -> pathlib.Path:
    """The first of `candidates`, paths below `root`, that exists; else an error with the help."""
    paths = [pathlib.Path(root, candidate) for candidate in candidates]
    for path in paths:
        if path.exists():
            return path
    tried = " or ".join(str(path) for path in paths)
    raise FileNotFoundError(
        f"there is no {tried}\n{help_text}\nTo try the code without a dataset run "
        "configs/quickstart.py, which draws its own people."
    )


def find_images(root: str, candidates: Sequence[str], help_text: str) -> pathlib.Path:
    """The first folder of images that exists; where they are all in records, the first of all."""
    if pathlib.Path(root, RECORDS).is_dir() and not any(
        pathlib.Path(root, candidate).is_dir() for candidate in candidates
    ):
        return pathlib.Path(root, candidates[0])
    return find(root, candidates, help_text)


def path_column(paths: list[str]) -> np.ndarray:
    """Paths as a column of variable-length strings, a quarter of the memory of NumPy's `U` type."""
    try:
        return np.array(paths, dtype=np.dtypes.StringDType())
    except UnicodeEncodeError:  # a name that is not UTF-8
        return np.array(paths, dtype=object)
