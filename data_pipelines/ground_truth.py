"""The ground truth of one split of a dataset in COCO's format, read and cleaned once.

The loader, AP, PCK, the error analysis, `prepare_data check` and result files all use this object,
so that they agree on which people there are and how large they are. The rules:

- Only annotations of the chosen category count. Those of other categories, with another number of
  joints or without a box are dropped and counted. Without keypoints (missing, null, empty) a person
  has no labeled joints: AP ignores detections of it.
- `labeled` is the number of labeled joints, whatever the file's num_keypoints says, unless the
  reader trusts the file's counts (CrowdPose's leave out head and neck).
- `areas` are the file's where they are positive and finite, else those of the boxes, as pycocotools
  has it for results. CrowdPose's are always AREA_OF_BOX of the boxes, as in its metric.
- `crowds` are the file's iscrowd as a bool; null and missing mean no crowd.
- Annotation ids are used in messages only. Ids of images and categories are whole numbers, 1.0
  included, and no two images have the same.
- NaN and null are read as coordinates of joints that are not labeled, and nowhere else.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_pipelines import coco_columns, coco_json
from data_pipelines.coco_columns import COCO_FORM, JointForm
from data_pipelines.coco_json import Document, Wrong
from data_pipelines.geometry import LARGEST
from data_pipelines.skeletons import Skeleton

# The share of a box that a person fills in CrowdPose's metric, whose files have no areas.
AREA_OF_BOX = 0.53
EVERY = "*"  # all categories of a file, as one


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The images of an annotation file and the annotations of its chosen category, as columns.

    `path` is the file, `skeleton` the joints of the category, `category_id` and `category` what the
    file calls it. Of m images there are image_ids (m,) int64, image_names (m), image_sizes (m, 2)
    float64 as (height, width), and crowd_index (m,) float64, NaN where the file has none.

    Of n annotations, crowds and people without labeled joints included, there are annotation_ids
    (n,), the file's own, for messages; image_rows (n,) int64, places in the columns of images;
    boxes (n, 4) float64 (x, y, w, h) as annotated; keypoints (n, k, 2) and visibility (n, k)
    float64 in image pixels, visibility 0 (not labeled), 1 (occluded) or 2; areas (n,) float64 in
    square pixels; labeled (n,) int64, the number of labeled joints; and crowds (n,) bool.

    `dropped` counts the annotations of the file that are not here, by reason. `annotated` is false
    where the file has no annotations at all, as test splits do not. `notes` names the annotations
    of the category that were repaired or dropped, by what was wrong with them. `category_ids` (n,)
    int64 are the file's where several categories (species) count as one, None otherwise. Where the
    form of the file has them (PoseTrack18), `heads` (n, 4) are boxes of heads, NaN where a person
    has none, and `ignored` has for each image the polygons (p, 2) in which nothing counts.
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
    notes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    category_ids: np.ndarray | None = None
    heads: np.ndarray | None = None
    ignored: Sequence[Sequence[np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self.image_rows)

    @property
    def counted(self) -> np.ndarray:
        """Which annotations (n,) AP counts: not crowds, with at least one labeled joint."""
        return ~self.crowds & (self.labeled > 0)

    def categories_of_images(self) -> np.ndarray:
        """The file's category id of each image (m,), which is that of its first annotation."""
        categories = np.full(len(self.image_ids), self.category_id)
        if self.category_ids is not None:
            rows, firsts = np.unique(self.image_rows, return_index=True)
            categories[rows] = self.category_ids[firsts]
        return categories

    def rows_of_images(self, image_ids: np.ndarray) -> np.ndarray:
        """Places of images in the columns by their ids; -1 for ids that the file does not list."""
        return find_rows(self.image_ids, image_ids)

    def take_images(self, rows: np.ndarray) -> "Truth":
        """The truth of some of the images, by their rows, with the annotations in them."""
        new_rows = np.full(len(self.image_ids), -1)
        new_rows[rows] = np.arange(len(rows))
        kept = np.flatnonzero(new_rows[self.image_rows] >= 0)
        of_images = ("image_ids", "image_sizes", "crowd_index")
        of_people = ("boxes", "keypoints", "visibility", "areas", "labeled", "crowds")
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[rows] for name in of_images},
            **{name: getattr(self, name)[kept] for name in of_people},
            image_names=[self.image_names[row] for row in rows],
            image_rows=new_rows[self.image_rows[kept]],
            annotation_ids=[self.annotation_ids[row] for row in kept],
            heads=None if self.heads is None else self.heads[kept],
            ignored=None if self.ignored is None else [self.ignored[row] for row in rows],
        )


@dataclasses.dataclass(frozen=True)
class Category:
    """A category of an annotation file: id, name, and all fields as they stand there.

    `ids` are those of all categories that count as this one.
    """

    id: int
    name: str
    fields: Mapping
    ids: frozenset[int]


def read(
    path: pathlib.Path,
    skeleton: Skeleton | Callable[[pathlib.Path, Category], Skeleton],
    *,
    category: str,
    trust_counts: bool = False,
    trust_areas: bool = True,
    form: JointForm = COCO_FORM,
) -> Truth:
    """The truth in a file of COCO's format, cleaned by the rules above.

    `skeleton` may be a function of the file and its category. An empty `category` is the only one
    that has joints, and EVERY stands for all of them, which then share their joints.
    `trust_counts` takes num_keypoints from the file where it is there. Without `trust_areas` areas
    are CrowdPose's. `form` says how annotations hold their joints.
    """
    document = coco_json.load(path)
    chosen = choose_category(document, category)
    if not isinstance(skeleton, Skeleton):
        skeleton = skeleton(path, chosen)
    images = coco_columns.images(document, form)
    people = coco_columns.people(document, chosen.ids, skeleton, form)
    return Truth(
        path=str(path),
        skeleton=skeleton,
        category_id=chosen.id,
        category=chosen.name,
        annotated=len(document.annotations) > 0,
        image_rows=_image_rows(images["image_ids"], people),
        keypoints=people.joints[..., :2],
        visibility=people.joints[..., 2],
        boxes=people.boxes,
        annotation_ids=people.ids,
        category_ids=people.category_ids if len(chosen.ids) > 1 else None,
        crowds=people.crowds,
        heads=people.heads,
        areas=_areas(people, trust=trust_areas),
        labeled=_labeled(people, trust=trust_counts),
        dropped=people.dropped,
        notes=_notes(people, trust_counts=trust_counts, trust_areas=trust_areas),
        **images,
    )


def choose_category(document: Document, name: str) -> Category:
    """The category of that name, or the only one with joints where the name is empty."""
    categories = document.categories
    for row, entry in enumerate(categories):
        if not isinstance(entry, dict):
            raise ValueError(f"{document.path}: category {row} is {coco_json.shown(entry)}")
    names = ", ".join(map(_category_name, categories)) or "(none)"
    if name == EVERY:
        return _every_category(document)
    if name:
        chosen = [entry for entry in categories if _category_name(entry) == name]
        if not chosen:
            raise ValueError(f"{document.path} has no category {name!r}; it has: {names}")
    else:
        chosen = [entry for entry in categories if entry.get("keypoints")] or categories
    if len(chosen) != 1:
        raise ValueError(
            f"{document.path} has the categories {names}; say in config.data.category which of "
            f"them the network learns (now {name!r})"
        )
    row, own = categories.index(chosen[0]), _category_name(chosen[0])
    try:
        number = coco_json.whole(chosen[0].get("id"), "id")
    except Wrong as error:
        raise ValueError(f"{document.path}: category {row} ({own}): {error}") from None
    if [entry.get("id") for entry in categories].count(number) > 1:
        raise ValueError(f"{document.path} has several categories of the id {number}: {names}")
    return Category(number, own, chosen[0], frozenset({number}))


def _every_category(document):
    """All categories as one, called by the first: species that share their joints."""
    numbers = []
    for row, entry in enumerate(document.categories):
        try:
            numbers.append(coco_json.whole(entry.get("id"), "id"))
        except Wrong as error:
            raise ValueError(f"{document.path}: category {row}: {error}") from None
    if not numbers:
        raise ValueError(f"{document.path} has no categories")
    first = document.categories[0]
    return Category(numbers[0], _category_name(first), first, frozenset(numbers))


def _category_name(entry):
    return str(entry.get("name", "unnamed"))


def _areas(people, *, trust):
    of_boxes = people.boxes[:, 2:].clip(min=0).prod(axis=1)
    if not trust:
        return AREA_OF_BOX * of_boxes
    return np.where(_usable(people.areas), people.areas, of_boxes)


def _usable(areas):
    """Which areas can be those of people: positive, and not larger than any image."""
    return (areas > 0) & (areas < LARGEST**2)


def _labeled(people, *, trust):
    labeled = np.count_nonzero(people.joints[..., 2] > 0, axis=1)
    known = (people.counts >= 0) & (people.counts < LARGEST) & trust  # not where they are NaN
    return np.where(known, people.counts, labeled).astype(np.int64)


def _image_rows(known_ids, people):
    rows = find_rows(known_ids, people.image_ids)
    if (rows < 0).any():
        place = int(np.argmax(rows < 0))
        lost = f"belongs to image {people.image_ids[place]}, which the file does not list"
        raise people.error(place, lost)
    return rows


def find_rows(known_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where each of `ids` is among `known_ids`, -1 where it is not; both are integers (n,)."""
    if not len(known_ids):
        return np.full(len(ids), -1)
    order = np.argsort(known_ids, kind="stable")
    places = np.minimum(np.searchsorted(known_ids[order], ids), len(known_ids) - 1)
    return np.where(known_ids[order[places]] == ids, order[places], -1)


def _notes(people, *, trust_counts, trust_areas):
    """Whose fields were replaced, by what was wrong with them."""
    labeled = np.count_nonzero(people.joints[..., 2] > 0, axis=1)
    wrong_areas = ~np.isnan(people.areas) & ~_usable(people.areas) & ~people.crowds & trust_areas
    wrong_counts = ~np.isnan(people.counts) & (people.counts != labeled)
    what = "num_keypoints differs from the number of labeled joints"
    found = {
        "area is not positive: that of the box is used": wrong_areas,
        what if trust_counts else f"{what}, which is used": wrong_counts,
    }
    repaired = {
        what: tuple(people.label(place) for place in np.flatnonzero(wrong).tolist())
        for what, wrong in found.items()
    }
    dropped = {f"left out {reason}": tuple(names) for reason, names in people.dropped_names.items()}
    return {what: names for what, names in {**repaired, **dropped}.items() if names}
