"""Makes ground truth from arrays, for tests of what is computed from it."""

import numpy as np

from data_pipelines.ground_truth import Truth
from data_pipelines.skeletons import COCO


def make_truth(keypoints, image_ids, skeleton=COCO, **columns):
    """People (n, k, 2) in images of these ids, in boxes of 100x100 pixels with all joints labeled.

    `columns` replaces any of the truth's fields.
    """
    keypoints = np.array(keypoints, float)
    known, rows = np.unique(image_ids, return_inverse=True)
    count = len(image_ids)
    fields = {
        "path": "truth.json",
        "skeleton": skeleton,
        "category_id": 1,
        "category": "person",
        "image_ids": known,
        "image_names": [f"{number}.png" for number in known],
        "image_sizes": np.full((len(known), 2), np.nan),
        "crowd_index": np.full(len(known), np.nan),
        "annotation_ids": range(1, count + 1),
        "image_rows": rows,
        "boxes": np.tile([0.0, 0, 100, 100], (count, 1)),
        "keypoints": keypoints,
        "visibility": np.full(keypoints.shape[:2], 2.0),
        "areas": np.full(count, 100.0**2),
        "crowds": np.zeros(count, bool),
        "dropped": {},
        "annotated": True,
        **columns,
    }
    labeled = np.count_nonzero(fields["visibility"] > 0, axis=1)
    return Truth(**{"labeled": labeled, **fields})
