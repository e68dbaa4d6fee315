"""JSON files of person boxes: which category are people, and which image each box belongs to."""

import collections
import itertools
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from data_pipelines import coco_json, files, geometry, json_files
from data_pipelines.messages import choices
from hrjax.prediction.media import Frame

logger = logging.getLogger(__name__)

PERSON = "person"
PERSON_ID = 1  # in COCO


class BoxFile:
    """The person boxes of a JSON file: detections in COCO's results format, or COCO annotations.

    Only boxes with a score of at least `threshold` are used, and only of people: of the category
    that `category` names or numbers, by default as `choose_category` says. `names` are the images
    in `folder` that boxes will be asked for; a box belongs to the image with its file_name
    (`match_names`), or to the one with its image_id if the file has no names. In videos, whose
    frames have no names, the image_id is the number of the frame.

    `matched` counts the boxes given out so far; `problems` are file names that fit several images.
    """

    def __init__(
        self,
        file: str,
        *,
        threshold: float,
        category: str = "",
        folder: pathlib.Path = pathlib.Path(),
        names: Sequence[str] = (),
    ):
        self.matched = 0
        entries, box_names, categories = _read(file)
        used_ids = [entry.category_id for entry in entries if entry.category_id is not None]
        chosen = choose_category(file, used_ids, categories, category)
        self._boxes = np.array([entry.bbox for entry in entries], np.float64).reshape(-1, 4)
        self._scores = np.array([entry.score for entry in entries], np.float64)
        self._by_name, self._by_id = collections.defaultdict(list), collections.defaultdict(list)
        for row, (entry, name) in enumerate(zip(entries, box_names, strict=True)):
            if entry.iscrowd or entry.category_id not in (chosen, None) or entry.score < threshold:
                continue
            if name is not None and names:
                self._by_name[name].append(row)
            else:
                self._by_id[entry.image_id].append(row)
        self._box_names, ambiguous = match_names(names, list(self._by_name), folder=folder)
        self.problems = [
            f"{file}: {name} could be any of {', '.join(several)}; its boxes are not used"
            for name, several in ambiguous.items()
        ]

    def __call__(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        """The boxes (n, 4) of a frame and their scores (n,)."""
        rows = self._by_name.get(self._box_names.get(frame.name))
        rows = rows or self._by_id.get(frame.image_id, [])
        self.matched += len(rows)
        return self._boxes[rows], self._scores[rows]


class _Box(msgspec.Struct):
    """A detection or an annotation; annotations have no score."""

    image_id: int | float | str
    bbox: tuple[float, float, float, float] | None = None
    score: float = 1.0
    category_id: int | float | str | None = None
    iscrowd: int | float | bool | None = None
    file_name: str | None = None


class _Image(msgspec.Struct):
    id: int | float | str
    file_name: str


class _Category(msgspec.Struct):
    id: int | float | str
    name: str = ""


class _Annotations(msgspec.Struct):
    annotations: list[_Box]
    images: list[_Image] = []
    categories: list[_Category] = []


def _read(file):
    """The boxes of a file, the file name of each or None, and the names of category ids."""
    path = pathlib.Path(file)
    if not path.exists():
        raise FileNotFoundError(f"there is no box file {file}{choices.instead_of(file)}")
    contents = json_files.read_json(path, expected=object)
    if isinstance(contents, list):
        entries, images, categories = _convert(path, contents, list[_Box]), {}, {}
    elif isinstance(contents, dict) and "annotations" in contents:
        document = _convert(path, contents, _Annotations)
        entries = document.annotations
        images = _names_of_ids(path, document.images)
        categories = {category.id: category.name for category in document.categories}
    else:
        raise ValueError(
            f"{path} is neither a list of detections (image_id, category_id, bbox, score) nor a "
            "COCO annotation file"
        )
    boxes = [entry for entry in entries if entry.bbox is not None]
    if len(boxes) < len(entries):
        logger.warning("%s: %d entries have no bbox; skipped", path, len(entries) - len(boxes))
    if entries and not boxes:
        raise ValueError(f"{path}: no entry has a bbox (x, y, w, h)")
    for position, entry in enumerate(entries):
        if not abs(entry.score) < geometry.LARGEST:
            raise ValueError(
                f"{path}: the score of entry {position} is {entry.score}; expected a finite number"
            )
        if entry.bbox is not None and not all(abs(x) < geometry.LARGEST for x in entry.bbox):
            raise ValueError(
                f"{path}: bbox of entry {position} (image {entry.image_id!r}) is "
                f"{list(entry.bbox)}; expected finite numbers"
            )
    return boxes, [box.file_name or images.get(box.image_id) for box in boxes], categories


def _names_of_ids(path, images):
    names = {}
    for row, image in enumerate(images):
        problem = files.name_problem(image.file_name)
        if problem and problem != files.OUTSIDE:  # names are compared, not opened
            shown = coco_json.shown(image.file_name)
            raise ValueError(f"{path}: file_name of image {row} is {shown}; {problem}")
        if names.setdefault(image.id, image.file_name) != image.file_name:
            raise ValueError(
                f"{path}: the image id {image.id!r} is used twice, by {names[image.id]} and "
                f"{image.file_name}; give every image an id of its own"
            )
    return names


def _convert(path, contents, kind):
    try:
        return msgspec.convert(contents, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {error}; $ is the whole file") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: {error.object!r} is not valid Unicode") from error


def choose_category(
    file: str, used: Sequence[object], names: Mapping[object, str], wanted: str
) -> object:
    """The id of the category whose boxes are people.

    That is the one that `wanted` names or numbers. Without it, it is the category called "person";
    in a file that names no categories, 1; otherwise the only one in use. `used` are the category
    ids of the boxes, `names` those that the file names.
    """
    ids = list(dict.fromkeys([*names, *used]))
    shown = ", ".join(f"{each} ({names[each]})" if names.get(each) else str(each) for each in ids)
    wanted_name = wanted.lower() or PERSON
    matching = [each for each in ids if names.get(each, "").lower() == wanted_name]
    matching = matching or [each for each in ids if wanted and str(each) == wanted]
    if matching:
        return matching[0]
    if wanted:
        named = choices.proposal(choices.near(wanted, filter(None, names.values())))
        choose = f"{named} Choose" if named else "choose"
        raise ValueError(f"{file} has no category {wanted!r}; {choose} one of: {shown}")
    if not names and (PERSON_ID in used or not used):
        return PERSON_ID
    in_use = [each for each in ids if each in used]
    if len(in_use) > 1:
        raise ValueError(
            f"{file} has several categories and none is called {PERSON!r}: {shown}; say which one "
            f"to use, e.g. --category={in_use[0]}"
        )
    if in_use:
        logger.info("%s: using the boxes of its only category, %s", file, shown)
    return next(iter(in_use), PERSON_ID)


def match_names(
    names: Sequence[str], box_names: Sequence[str], *, folder: pathlib.Path
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Which name in a box file means which image; and box names that fit several images equally.

    Of two names with the same base name, the same name fits best, then the one that has the most
    folders in common with the path of the image in `folder`. A pair is matched if neither name
    fits another one as well, so that boxes are never used for two images.
    """
    same_base = collections.defaultdict(list)
    for box_name in box_names:
        same_base[_parts(box_name)[-1:]].append(box_name)
    claims = collections.defaultdict(dict)
    for name in names:
        fits = {box_name: _fit(name, box_name, folder) for box_name in same_base[_parts(name)[-1:]]}
        best = _best(fits)
        if len(best) == 1:
            claims[best[0]][name] = fits[best[0]]
    matched, ambiguous = {}, {}
    for box_name, fits in claims.items():
        best = _best(fits)
        if len(best) == 1:
            matched[best[0]] = box_name
        else:
            ambiguous[box_name] = best
    return matched, ambiguous


def _best(fits):
    most = max(fits.values(), default=0)
    return [name for name, fit in fits.items() if fit == most]


def _fit(name, box_name, folder):
    """How many of their last parts the paths of an image and of a box share; inf if the same."""
    if _parts(name) == _parts(box_name):
        return math.inf
    path, other = _parts(str(folder.absolute() / name)), _parts(box_name)
    pairs = zip(reversed(path), reversed(other), strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _parts(name):
    """The folders and the base name in a path, also one written on Windows."""
    return tuple(
        part for part in pathlib.PurePosixPath(name.replace("\\", "/")).parts if part != "/"
    )
