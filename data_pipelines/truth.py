"""The ground truth of one split of a dataset in COCO's format, read and cleaned once.

The loader, AP, PCK, the error analysis, `prepare_data check` and result files all use this object, so
that they agree on which people there are and how large they are.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.skeletons import Skeleton


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The images of an annotation file and the annotations of its chosen category, as columns.

    `path` is the file, `skeleton` the joints of the category, `category_id` and `category` what the
    file calls it. Of m images there are image_ids (m,) int64, image_names (m), image_sizes (m, 2)
    float64 as (height, width), and crowd_index (m,) float64, NaN where the file has none.

    Of n annotations, crowds and people without labeled joints included, there are annotation_ids
    (n,), the file's own, for messages; image_rows (n,) int64, places in the columns of images; boxes
    (n, 4) float64 (x, y, w, h) as annotated; keypoints (n, k, 2) and visibility (n, k) float64 in image
    pixels, visibility 0 (not labeled), 1 (occluded) or 2; areas (n,) float64 in square pixels; labeled
    (n,) int64, the number of labeled joints; and crowds (n,) bool. `dropped` counts the annotations
    of the file that are not here, by reason. `annotated` is false where the file has no annotations
    at all, as test splits do not.
    """

    path: str
    skeleton: Skeleton
    category_id: int
    category: str
    image_ids: np.ndarray
    image_names: Sequence[str]
    image_sizes: np.ndarray
    crowd_index: np.ndarray
    annotation_ids: Sequence
    image_rows: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    areas: np.ndarray
    labeled: np.ndarray
    crowds: np.ndarray
    dropped: Mapping[str, int]
    annotated: bool

    def __len__(self) -> int:
        return len(self.image_rows)

    @property
    def counted(self) -> np.ndarray:
        """Which annotations (n,) AP counts: not crowds, with at least one labeled joint."""
        return ~self.crowds & (self.labeled > 0)
