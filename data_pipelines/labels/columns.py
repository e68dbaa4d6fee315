"""What every importer returns: the labels of a tool's files as columns, and what was lost."""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_pipelines.geometry import LARGEST

LOST, GUESSED = "lost", "guessed"
NO_BOX = (math.nan,) * 4
HIDDEN, VISIBLE = 1, 2  # COCO's visibility of a labeled joint
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SHOWN = 3  # places of a note that its text names
LONGEST = 300  # characters of each of them


@dataclasses.dataclass(frozen=True)
class JointSet:
    """A category and its joints; `limbs` and `flip_pairs` are pairs of joints counted from 0."""

    category: str
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame of a film, counted from 0; `film` is its file as the tool names it."""

    film: str
    number: int


@dataclasses.dataclass(frozen=True)
class Image:
    """An image as a tool knows it.

    `name` is the tool's, a path with any kind of slashes, perhaps without an ending; `size` the
    (height, width) that the tool states, if it does; `split` (train, val or test) and
    `group`, the film or scene, are empty where the tool knows none. `encoded` gives the bytes of
    an image that is inside of the tool's file, and `frame` says where in a film it is.
    """

    name: str
    size: tuple[float, float] | None = None
    split: str = ""
    group: str = ""
    encoded: Callable[[], bytes] | None = None
    frame: Frame | None = None


@dataclasses.dataclass(frozen=True)
class Note:
    """Something that was LOST or GUESSED, in words, and all places where it was."""

    kind: str
    what: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(map(_printable, self.places[:SHOWN]))
        more = ", …" if len(self.places) > SHOWN else ""
        count = f" ({len(self.places)})" if len(self.places) > 1 else ""
        return f"{self.kind}: {_printable(self.what)}{count}: {shown}{more}"


def _printable(text):
    """A text of a file without what would steer a terminal, and not at any length."""
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:LONGEST])
    return escaped + "…" * (len(text) > LONGEST)


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Images and the people (hands, animals, things) that are labeled in them.

    Of n instances there are image_rows (n,) and set_rows (n,), places in `images` and
    `joint_sets`; boxes (n, 4) float64 (x, y, w, h), NaN where the tool has none; keypoints
    (n, k, 2) and visibility (n, k) float64, k the most joints of a set, 0 (not labeled), 1
    (hidden) or 2; areas (n,) float64, of silhouettes, NaN where the tool has none; and crowds (n,)
    bool. They are in pixels of the image, or fractions of its
    width and height if `relative`. `upright` says that the tool showed photographs upright, as
    their EXIF orientation says, and not as they are stored.
    """

    joint_sets: tuple[JointSet, ...]
    images: tuple[Image, ...]
    image_rows: np.ndarray
    set_rows: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    relative: bool = False
    upright: bool = True
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.image_rows)

    def take(self, rows: np.ndarray) -> "Labels":
        """The labels of the instances `rows`, indices or a mask; all images stay."""
        names = ("image_rows", "set_rows", "boxes", "keypoints", "visibility")
        names += ("areas", "crowds")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})


class Notes:
    """Collects what is lost and guessed while files are read."""

    def __init__(self) -> None:
        self._places = collections.defaultdict(list)

    def lost(self, what: str, place: str) -> None:
        """Something of the files that the dataset will not have."""
        self._places[LOST, what].append(place)

    def guessed(self, what: str, place: str) -> None:
        """Something that the files do not say."""
        self._places[GUESSED, what].append(place)

    def all(self) -> tuple[Note, ...]:
        """All notes, what was lost first."""
        notes = [Note(*key, tuple(dict.fromkeys(places))) for key, places in self._places.items()]
        return tuple(sorted(notes, key=lambda note: note.kind != LOST))


class Collector:
    """Gathers images and instances one by one and makes columns of them."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.joint_sets: list[JointSet] = []
        self.images: list[Image] = []
        self._instances: list[tuple] = []

    def add_set(self, joints: JointSet) -> int:
        """The place of a joint set, which is new or the same as an earlier one."""
        if joints not in self.joint_sets:
            self.joint_sets.append(joints)
        return self.joint_sets.index(joints)

    def add_image(self, image: Image) -> int:
        """The place of a new image."""
        self.images.append(image)
        return len(self.images) - 1

    def add(
        self,
        image: int,
        joint_set: int,
        joints: Sequence[Sequence[float]],
        box: Sequence[float] | None = None,
        *,
        area: float = math.nan,
        crowd: bool = False,
    ) -> None:
        """An instance: its joints as (x, y, visibility), and its box as (x, y, w, h)."""
        box = NO_BOX if box is None else box
        self._instances.append((image, joint_set, joints, box, area, crowd))

    def labels(self, *, relative: bool = False, upright: bool = True) -> Labels:
        """All that was added."""
        count = len(self._instances)
        joints = max((len(entry[2]) for entry in self._instances), default=0)
        table = np.zeros((count, joints, 3))
        for row, entry in enumerate(self._instances):
            if len(entry[2]):
                table[row, : len(entry[2])] = entry[2]
        return Labels(
            joint_sets=tuple(self.joint_sets),
            images=tuple(self.images),
            image_rows=np.array([entry[0] for entry in self._instances], np.int64),
            set_rows=np.array([entry[1] for entry in self._instances], np.int64),
            boxes=np.array([entry[3] for entry in self._instances], float).reshape(count, 4),
            keypoints=table[..., :2],
            visibility=table[..., 2],
            areas=np.array([entry[4] for entry in self._instances], float),
            crowds=np.array([entry[5] for entry in self._instances], bool),
            relative=relative,
            upright=upright,
            notes=self.notes.all(),
        )


def split_name(word: str) -> str:
    """The split that a word such as valid or Train stands for; empty for other words."""
    return SPLITS.get(word.lower(), "")


def named(joints: JointSet, points: Mapping[str, Sequence[float]]) -> list[Sequence[float]]:
    """The (x, y, visibility) of every joint of a set, from those of the named ones."""
    return [points.get(name, (0.0, 0.0, 0)) for name in joints.names]


def number(value: object, place: str, what: str) -> float:
    """A finite number of a file, also one in quotation marks."""
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if isinstance(value, bool) or not abs(result) < LARGEST:
        raise ValueError(f"{place}: {what} is {shown(value)}; expected a finite number")
    return result


def numbers(values: object, count: int, place: str, what: str) -> list[float]:
    """A list of `count` finite numbers of a file."""
    if not isinstance(values, list | tuple) or len(values) != count:
        raise ValueError(f"{place}: {what} is {shown(values)}; expected {count} numbers")
    return [number(value, place, what) for value in values]


def shown(value: object) -> str:
    """A value as a message shows it, not at any length."""
    text = str(value) if isinstance(value, str | int | float) else repr(value)
    return repr(text[:40] + "…" * (len(text) > 40)) if isinstance(value, str) else text[:60]
