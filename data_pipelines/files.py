"""Files: only regular ones are read, and writing one never changes another."""

import os
import pathlib
import stat
import tempfile
import uuid
from collections.abc import Iterable, Mapping

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
OUTSIDE = "expected a name that doesn't lead out of its folder"


def require_regular_file(path: str | os.PathLike) -> None:
    """Raises an error unless a regular file, or a link to one, is at `path`.

    Opening a named pipe waits for a writer, and a device such as /dev/zero never ends.
    """
    path = pathlib.Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL character
        raise ValueError(f"{str(path)!r} cannot be the name of a file: {error}") from error
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "a special file")
        raise ValueError(f"{path} is {kind}; expected a regular file")


def read_bytes(path: str | os.PathLike, *, limit: int) -> bytes:
    """The contents of a regular file of at most `limit` bytes."""
    require_regular_file(path)
    size = os.stat(path).st_size
    if size > limit:
        raise ValueError(f"{path} has {size:,} bytes; at most {limit:,} are read")
    try:
        # Not waiting, in case the file has been replaced by a named pipe in the meantime.
        with open(path, "rb", opener=_open_without_waiting) as file:
            # A file of /proc states a size of 0 and may have no end.
            contents = file.read(size + 1)
    except MemoryError:
        raise ValueError(f"{path} has {size:,} bytes, more than fit into memory") from None
    if len(contents) > size:
        raise ValueError(f"{path} grew while it was read; expected a file that stays as it is")
    return contents


def _open_without_waiting(path, flags):
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file in UTF-8 as `write_bytes` does; what UTF-8 lacks is escaped (\\udcff)."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: str | os.PathLike, contents: bytes) -> None:
    """Writes a file, completely or not at all; a link at `path` is replaced, not followed.

    /dev/stdout, a pipe and the like are written to directly.
    """
    path = pathlib.Path(path)
    if _is_special(path):
        path.write_bytes(contents)
        return
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.new")
    try:
        temporary.write_bytes(contents)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Unfinished:
    """A text file in UTF-8 that is written bit by bit, and gets its name when it is closed.

    A link of that name is replaced, not followed. What UTF-8 lacks is escaped (\\udcff).
    """

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)
        self._temporary = self._path.with_name(f".{uuid.uuid4().hex[:12]}.new")
        self._file = self._temporary.open("w", encoding="utf-8", errors="backslashreplace")

    def write(self, text: str) -> None:
        """Appends some text."""
        self._file.write(text)

    def close(self) -> None:
        """Finishes the file."""
        self._file.close()
        self._temporary.replace(self._path)


def _is_special(path):
    folder = pathlib.Path(os.path.realpath(path.parent))
    of_system = folder == pathlib.Path("/dev") or folder.is_relative_to("/proc")
    return of_system or (path.exists() and not path.is_file() and not path.is_dir())


def is_same(first: str | os.PathLike, second: str | os.PathLike) -> bool:
    """Whether two paths lead to one file or folder, there or not, through whatever links."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def require_no_input(
    outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]
) -> None:
    """Raises ValueError if one of the outputs is one of the inputs, through whatever links."""
    there = [path for path in outputs if os.path.exists(path)]
    if not there:
        return
    known = {_identity(path): path for path in inputs if os.path.exists(path)}
    for path in there:
        if _identity(path) in known:
            raise ValueError(
                f"the output {path} would replace the input {known[_identity(path)]}; write to "
                "another place"
            )


def _identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino


def require_different(outputs: Mapping[pathlib.Path, str | os.PathLike]) -> None:
    """Raises ValueError if two of the outputs, each with its input, have the same name.

    Names that differ in case alone are the same where the folder takes them so.
    """
    by_name = {}
    for output in outputs:
        by_name.setdefault(str(output).casefold(), []).append(output)
    for alike in by_name.values():
        if len(alike) > 1 and _ignores_case(alike[0].parent):
            first, second = (outputs[output] for output in alike[:2])
            raise ValueError(
                f"{first} and {second} would be written to the same file, {alike[0]}; rename one"
            )


def _ignores_case(folder):
    """Whether names in a folder, or where it will be, are the same in upper and lower case."""
    there = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    with tempfile.NamedTemporaryFile(prefix=".case_", suffix="a", dir=there) as file:
        return os.path.exists(f"{file.name[:-1]}A")


def name_problem(name: object) -> str:
    """What is wrong with the name of a file in some folder; "" if nothing is.

    Names with folders in them are fine as long as they don't lead out of theirs.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        return "expected the name of a file"
    try:
        name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return "expected valid Unicode"
    if ".." in name and ".." in pathlib.PurePath(name).parts:
        return OUTSIDE
    return ""


def below(folder: str | os.PathLike, name: str) -> str:
    """The path of a file by its name in a folder; raises ValueError if it leads out of that.

    An absolute name may lead into the folder. Links in the folder are followed: its owner made
    them.
    """
    problem = name_problem(name)
    if not problem and os.path.isabs(name):
        folders = (os.path.abspath(folder), os.path.realpath(folder))
        problem = "" if any(map(pathlib.Path(name).is_relative_to, folders)) else OUTSIDE
    if problem:
        raise ValueError(f"the image {name!r} is to be in {folder}; {problem}")
    return os.path.join(folder, name)
