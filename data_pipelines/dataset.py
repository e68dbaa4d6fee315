"""What every reader returns: one split of a dataset as columns."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from data_pipelines.skeletons import Skeleton

EXAMPLE_KEYS = ("image_path", "center", "size", "keypoints", "visible")


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a dataset: a column per field, a row per person.

    `columns` holds EXAMPLE_KEYS and whatever the dataset's metric needs; `annotation_file` is the
    file they came from; `dropped` counts the annotations that are not used, by reason.
    """

    name: str
    skeleton: Skeleton
    annotation_file: str
    columns: Mapping[str, np.ndarray]
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.columns["image_path"])

    def __getitem__(self, row: int) -> dict:
        """The example of one person: EXAMPLE_KEYS and `index`, its row in the split."""
        example = {key: self.columns[key][row] for key in EXAMPLE_KEYS}
        return {**example, "index": np.int32(row)}
