"""XML files of others: no document types (and so no entities), of a limited depth and size."""

import pathlib
import xml.etree.ElementTree as ET
import xml.parsers.expat
from collections.abc import Iterator

from data_pipelines import files

LARGEST_FILE = 2**31  # bytes
DEEPEST = 50  # elements within elements; CVAT has 8


class _Builder:
    """Builds the children of the root element one at a time."""

    def __init__(self, path: object) -> None:
        self.path, self.depth, self.done = path, 0, []
        self.parser = xml.parsers.expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.root, self._tree = "", None

    def _start(self, tag, attributes):
        self.depth += 1
        if self.depth == 1:
            self.root = tag
            return
        if self.depth > DEEPEST:
            raise ValueError(f"{self._place()}: elements are nested more than {DEEPEST} deep")
        if self.depth == 2:
            self._tree, self._line = ET.TreeBuilder(), self.parser.CurrentLineNumber
        self._tree.start(tag, attributes)

    def _end(self, tag):
        self.depth -= 1
        if self.depth == 0:
            return
        self._tree.end(tag)
        if self.depth == 1:
            self.done.append((self._line, self._tree.close()))

    def _text(self, text):
        if self.depth > 1:
            self._tree.data(text)

    def _doctype(self, *_):
        raise ValueError(
            f"{self._place()}: it declares a document type, which annotation tools do not write "
            "and which can make a small file endless; remove the <!DOCTYPE …>"
        )

    def _place(self):
        return f"{self.path}: line {self.parser.CurrentLineNumber}"

    def feed(self, contents, *, last):
        try:
            self.parser.Parse(contents, last)
        except xml.parsers.expat.ExpatError as error:
            raise ValueError(f"{self._place()}: it is not XML, or damaged ({error})") from error
        done, self.done = self.done, []
        return done


def children(path: pathlib.Path, *, root: str) -> Iterator[tuple[int, ET.Element]]:
    """The children of the root element, which must have that name, each with its line."""
    builder = _Builder(path)
    contents = files.read_bytes(path, limit=LARGEST_FILE)
    step = 2**16
    for start in range(0, max(1, len(contents)), step):
        part = contents[start : start + step]
        done = builder.feed(part, last=start + step >= len(contents))
        if builder.root and builder.root != root:
            raise ValueError(f"{path} holds <{builder.root}>; expected <{root}>")
        yield from done


def parse(text: str, place: str) -> list[ET.Element]:
    """The elements in a text that holds several, such as the inside of an <svg>."""
    builder = _Builder(place)
    return [element for _, element in builder.feed(f"<all>{text}</all>", last=True)]
