"""Finds the images that labels name in a folder, however tools spell their paths."""

import collections
import dataclasses
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from data_pipelines.labels import options
from data_pipelines.labels.columns import Frame, Image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
FILMS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv")
HASH = re.compile(r"^[0-9a-f]{8}-")  # that Label Studio puts before the name of an upload
DRIVE = re.compile(r"^[A-Za-z]:")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an image is: a file, a frame of a film, or the labels' own file (both empty).

    `name` is what the image is called in the dataset, a path with slashes.
    """

    name: str
    path: pathlib.Path | None = None
    frame: Frame | None = None


class Folder:
    """The images and films below a folder, or a film alone, by their names."""

    def __init__(self, root: pathlib.Path) -> None:
        if not root.exists():
            raise FileNotFoundError(f"there is no folder of images {root}")
        found = [root] if root.is_file() else options.walk(root)
        self.root = root.parent if root.is_file() else root
        self.images = [path for path in found if path.suffix.lower() in ENDINGS]
        self.films = [path for path in found if path.suffix.lower() in FILMS]
        self._by_name, self._by_stem = collections.defaultdict(list), collections.defaultdict(list)
        for path in self.images:
            self._by_name[_plain(path.name)].append(path)
            self._by_stem[_plain(path.stem)].append(path)

    def find(self, image: Image, *, by_folder: bool = False) -> Place | None:
        """The place of an image; None if it is not there, or several are as likely.

        With `by_folder` the file must be in a folder of the name that the image's is: other images
        of the labels have the same name.
        """
        parts = split_path(image.name)
        if image.encoded is not None:
            return Place("/".join(parts) + ("" if parts[-1].lower().endswith(ENDINGS) else ".png"))
        path = self._find_image(parts, by_folder)
        if path is not None:
            return Place(path.relative_to(self.root).as_posix(), path=path)
        film = self._find_film(image.frame)
        return None if film is None else Place(f"{'/'.join(parts)}.jpg", film, image.frame)

    def _find_image(self, parts, by_folder):
        name = _plain(parts[-1])
        for key in dict.fromkeys((name, HASH.sub("", name))):
            found = self._by_name[key] or self._by_stem[key] or self._by_stem[_stem(key)]
            if found:
                if by_folder and len(parts) == 1:
                    found = [path for path in found if path.parent == self.root]
                return self._best(found, parts[:-1], least=int(by_folder and len(parts) > 1))
        return None

    def _best(self, found, folders, least=0):
        """The path that ends in the most of the wanted folders; None if several do, or in few."""
        if not found:
            return None
        wanted = [_plain(part) for part in reversed(folders)]
        scores = []
        for path in found:
            own = [_plain(part) for part in reversed(path.relative_to(self.root).parts[:-1])]
            same = [a == b for a, b in zip(wanted, own, strict=False)]
            scores.append(same.index(False) if False in same else len(same))
        most = max(scores)
        best = [path for path, score in zip(found, scores, strict=True) if score == most]
        return best[0] if len(best) == 1 and most >= least else None

    def _find_film(self, frame):
        if frame is None:
            return None
        parts = split_path(frame.film)
        name = _plain(parts[-1])
        exact = [path for path in self.films if _plain(path.name) == name]
        alike = exact or [path for path in self.films if _plain(path.stem) == _stem(name)]
        return self._best(alike, parts[:-1])


def names_in_several_folders(images: Sequence[Image]) -> set[str]:
    """The names, without folders and endings, that several images of labels have."""
    different = {image.name: image for image in images}
    counts = collections.Counter(map(file_name, different.values()))
    return {name for name, count in counts.items() if count > 1}


def file_name(image: Image) -> str:
    """The name of an image without folders and ending, as `names_in_several_folders` has it."""
    return _stem(_plain(split_path(image.name)[-1]))


def split_path(name: str) -> list[str]:
    """The parts of a path with any slashes, without drive, root and steps up."""
    parts = DRIVE.sub("", name).replace("\\", "/").split("/")
    kept = [part for part in parts if part not in ("", ".", "..") and "\0" not in part]
    return kept or ["unnamed"]


def _plain(name):
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name):
    """A name without the ending of an image or a film."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending}" in (*ENDINGS, *FILMS) else name


def one_film(images: Sequence[Image], folder: Folder) -> dict[str, str]:
    """The film of the labels by the only one in the folder, where both are one; else nothing."""
    named = {image.frame.film for image in images if image.frame is not None}
    if len(named) == 1 and len(folder.films) == 1:
        return {named.pop(): folder.films[0].name}
    return {}
