"""From a tool's files and a folder of images to a custom dataset."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from data_pipelines.labels import (
    columns,
    completing,
    films,
    grouping,
    image_search,
    image_sizes,
    options,
    writing,
)
from data_pipelines.labels.columns import Labels, Note
from data_pipelines.labels.image_search import Place
from data_pipelines.labels.predicted import mediapipe, mmpose, openpose, sleap_analysis
from data_pipelines.labels.published import ai_challenger, interhand, lsp, penn_action
from data_pipelines.labels.tools import (
    coco,
    cvat,
    datumaro,
    deeplabcut,
    label_studio,
    labelme,
    sleap,
    supervisely,
    via,
    yolo,
)
from data_pipelines.messages import choices

# X-AnyLabeling writes LabelMe's format, Lightning Pose DeepLabCut's, Roboflow COCO's or YOLO's.
TOOLS: Mapping[str, Callable[[pathlib.Path, options.Options], Labels]] = {
    "yolo": yolo.read,
    "cvat": cvat.read,
    "deeplabcut": deeplabcut.read,
    "lightningpose": deeplabcut.read,
    "labelstudio": label_studio.read,
    "sleap": sleap.read,
    "labelme": labelme.read,
    "xanylabeling": labelme.read,
    "coco": coco.read,
    "roboflow": coco.read,
    "datumaro": datumaro.read,
    "supervisely": supervisely.read,
    "via": via.read,
    "aic": ai_challenger.read,
    "pennaction": penn_action.read,
    "lsp": lsp.read,
    "interhand": interhand.read,
    "openpose": openpose.read,
    "mmpose": mmpose.read,
    "mediapipe": mediapipe.read,
    "sleapanalysis": sleap_analysis.read,
}
NOTED = "note"
PADDING = 0.1  # around the joints where a tool has no boxes, as a share of their longer side


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to import, from where to where, and how."""

    tool: str
    source: pathlib.Path
    images: pathlib.Path
    output: pathlib.Path
    given: options.Options = dataclasses.field(default_factory=options.Options)
    shares: grouping.Shares = dataclasses.field(default_factory=grouping.Shares)
    padding: float = PADDING
    link: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Imported:
    """What was written: the instances of each split, the joint sets by use, and the notes."""

    counts: Mapping[str, int]
    categories: Mapping[str, int]
    joints: Mapping[str, int]
    notes: tuple[Note, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Images:
    """The images that were found: their places, sizes (m, 2), and which are rewritten upright."""

    places: list[Place]
    sizes: np.ndarray
    rewritten: set[int]


def read(tool: str, source: pathlib.Path, given: options.Options) -> Labels:
    """The labels in a tool's files."""
    if tool not in TOOLS:
        raise ValueError(choices.unknown("tool", tool, TOOLS))
    try:
        labels = TOOLS[tool](source, given)
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        # Something is a list where an object should be, or the like.
        what = f"is damaged, or not a file of {tool} ({type(error).__name__}: {error})"
        raise ValueError(f"{source} {what}") from error
    labels = completing.choose_joints(labels, given.joints)
    if not len(labels):
        notes = "".join(f"\n{note}" for note in labels.notes)
        raise ValueError(f"{source} has no labeled joints{notes}")
    return labels


def run(plan: Plan, progress: Callable[[Iterable], Iterable]) -> Imported:
    """Imports labels; `progress` wraps the iteration over images."""
    writing.check_output(plan.output)
    grouping.check(plan.shares)
    labels = completing.drop_empty(read(plan.tool, plan.source, plan.given))
    labels, found = _find_images(labels, plan, progress)
    labels = complete(labels, found.sizes, padding=plan.padding)
    counts = np.bincount(labels.image_rows, minlength=len(labels.images))
    splits, groups, notes = grouping.split(labels.images, counts, plan.shares)
    notes = [*labels.notes, *notes, *_empty_images(labels, counts)]
    names = [place.name for place in found.places]
    contents = writing.documents(labels, names, found.sizes, splits, groups)
    report = "\n".join([f"imported from {plan.tool}: {plan.source}", *map(str, notes), ""])
    if not plan.link:
        writing.require_space(plan.output, found.places)
    writing.write(
        plan.output,
        contents,
        report,
        lambda folder: _write_images(folder, labels, found, plan.link, progress),
    )
    by_set = np.bincount(labels.set_rows, minlength=len(labels.joint_sets)).tolist()
    categories = [one.category for one in labels.joint_sets]
    return Imported(
        counts={split: len(lists["annotations"]) for split, lists in contents.items()},
        categories=dict(zip(categories, by_set, strict=True)),
        joints={one.category: len(one.names) for one in labels.joint_sets},
        notes=tuple(notes),
    )


def complete(labels: Labels, sizes: np.ndarray, *, padding: float) -> Labels:
    """The labels as COCO's format needs them, for images of these sizes (m, 2) (height, width)."""
    labels = completing.to_pixels(completing.drop_empty(labels), sizes)
    labels = completing.clear_unlabeled(labels)
    labels = completing.merge_categories(labels)
    return completing.fill_areas(completing.fill_boxes(labels, sizes, padding=padding))


def _empty_images(labels, counts):
    names = tuple(labels.images[row].name for row in np.flatnonzero(counts == 0).tolist())
    return [Note(NOTED, "images without an instance", names)] if names else []


def _find_images(labels, plan, progress):
    """The labels of the images that are there, and these images."""
    folder = image_search.Folder(plan.images)
    films_by_name = image_search.one_film(labels.images, folder)
    ambiguous = image_search.names_in_several_folders(labels.images)
    notes, places, sizes, rewritten = columns.Notes(), [], [], set()
    rows, by_name, of_films = {}, set(), {}
    for row, image in enumerate(progress(labels.images)):
        by_folder = image_search.file_name(image) in ambiguous and image.frame is None
        place = _locate(image, folder, films_by_name, by_folder, notes)
        if place is None:
            continue
        if place.name in by_name:
            notes.lost("images that are listed twice; the first is kept", place.name)
            continue
        size, turned, problem = _size(image, place, labels.upright, of_films)
        if problem:
            notes.lost(problem, image.name)
            continue
        rows[row] = len(places)
        by_name.add(place.name)
        if turned:
            notes.guessed("photographs that are written upright, as EXIF says", place.name)
            rewritten.add(len(places))
            path = pathlib.PurePosixPath(place.name)
            upright = path.with_name(f"{path.stem}_upright.png")  # "a.png" may be there, too
            place = dataclasses.replace(place, name=upright.as_posix())
        places.append(place)
        sizes.append(size)
    if not places:
        raise ValueError(_nothing_found(labels, plan, notes))
    found = _Images(places, np.array(sizes, float), rewritten)
    return _only(labels, rows, notes), found


def _locate(image, folder, films_by_name, by_folder, notes):
    """The place of an image, also in the only film there is; None, with a note, without one."""
    place = folder.find(image, by_folder=by_folder)
    if place is None and image.frame and films_by_name:
        name = films_by_name[image.frame.film]
        frame = dataclasses.replace(image.frame, film=name)
        place = folder.find(dataclasses.replace(image, frame=frame))
        if place is not None:
            notes.guessed(f"frames of the film {image.frame.film}, taken from {name}", image.name)
    if place is None and image.frame is not None:
        film = image_search.split_path(image.frame.film)[-1]
        notes.lost(f"frames of {film}, which is not in the folder of images", image.name)
    elif place is None:
        notes.lost("images that are not in the folder, or there several times", image.name)
    return place


def _nothing_found(labels, plan, notes):
    reasons = "".join(f"\n{note}" for note in notes.all())
    return (
        f"none of the {len(labels.images)} images of {plan.source} can be used from {plan.images}: "
        f"say which folder holds them, or the film{reasons}"
    )


def _size(image, place, upright, of_films):
    """The size to state, whether the pixels must be rewritten upright, and a problem or nothing."""
    if place.frame is not None:
        if place.path not in of_films:
            of_films[place.path] = films.size(place.path)
        size = of_films[place.path]
        same = image.size is None or tuple(image.size) == size
        return size, False, "" if same else "frames of another size than they were labeled in"
    try:
        if place.path is None:
            stored, turned = image_sizes.measure(image.encoded(), place.name)
        else:
            stored, turned = image_sizes.measure_file(place.path)
    except ValueError as error:
        return None, False, f"images that can't be read ({error})"
    if not upright or place.path is None:
        turned = image_sizes.UPRIGHT
    shown = image_sizes.shown_size(stored, turned)
    stated = shown if image.size is None else tuple(image.size)
    if stated not in (stored, shown):
        return None, False, "images of another size than they were labeled in"
    # Where the sizes differ, the loader turns the image (docs/data.md, rotated photographs).
    return stated, turned != image_sizes.UPRIGHT and stored == shown, ""


def _only(labels, rows, notes):
    """The labels of the images in `rows`, which gives their new places."""
    kept = np.array([row in rows for row in labels.image_rows.tolist()], bool)
    fewer = labels.take(kept)
    places = np.array([rows[row] for row in fewer.image_rows.tolist()], np.int64)
    firsts = {place: row for row, place in reversed(list(rows.items()))}
    images = tuple(labels.images[firsts[place]] for place in range(len(firsts)))
    notes = (*labels.notes, *notes.all())
    if not kept.any():
        raise ValueError("none of the images that were found has an instance")
    return dataclasses.replace(fewer, images=images, image_rows=places, notes=notes)


def _write_images(folder, labels, found, link, progress):
    frames = collections.defaultdict(dict)
    for row, place in enumerate(progress(found.places)):
        target = folder / place.name
        if place.frame is not None:
            frames[place.path][place.frame.number] = target
        elif place.path is None:
            writing.write_encoded(labels.images[row].encoded(), target)
        elif row in found.rewritten:
            writing.write_upright(place, target)
        elif link:
            writing.link(place, target)
        else:
            writing.copy(place, target)
    for film, targets in frames.items():
        writing.write_frames(film, targets)
