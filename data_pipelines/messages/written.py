"""What a command says about the files that it wrote.

Nothing is replaced silently. What takes long or is edited by hand (weights, datasets, configs) is
never replaced: the command refuses. What is computed from that in a moment (pictures, plots,
reports, predictions, exported files) is replaced, and the command says so. An input is never
replaced; see `data_pipelines.files.require_no_input`.
"""

import os
import pathlib
from collections.abc import Collection, Sequence

MOST = 4  # files that are named one by one


def wrote(path: str | os.PathLike) -> str:
    """ "replaced PATH" if something is there now, else "wrote PATH"; asked before it is written."""
    return f"{'replaced' if os.path.lexists(path) else 'wrote'} {_printable(path)}"


def names_there(folder: str | os.PathLike) -> frozenset[str]:
    """The paths of all files below a folder, for `summarize` after more were written."""
    return frozenset(str(path) for path in pathlib.Path(folder).rglob("*"))


def summarize(
    paths: Sequence[pathlib.Path], folder: str | os.PathLike, there: Collection[str]
) -> str:
    """A sentence about files that were written into `folder`, where those of `there` were before.

    Many are counted.
    """
    paths = list(dict.fromkeys(map(str, paths)))
    replaced = sum(path in there for path in paths)
    many = len(paths) > MOST
    names = ", ".join(map(_printable, paths))
    names = f"{len(paths)} files in {_printable(folder)}" if many else names
    if replaced == len(paths):
        return f"replaced {names}"
    those = f" ({replaced} of them replaced earlier ones)" if replaced else ""
    return f"wrote {names}{those}"


def _printable(path):
    """The path as text; what UTF-8 lacks is escaped."""
    return os.fspath(path).encode(errors="backslashreplace").decode()
