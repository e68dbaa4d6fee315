"""Names that are not among the choices, and those that were meant.

Every message about an unknown name is made here: of variants, datasets, fields of a config, values
of a field, options of a command, and files.
"""

import difflib
import os
import pathlib
from collections.abc import Iterable

LIKE = 0.6  # from 0 to 1, how similar a name must be to be proposed
MARGIN = 0.15  # a name that is so much less similar than the best one is not proposed
MOST = 3  # names proposed


def near(name: object, known: Iterable[str], *, most: int = MOST) -> list[str]:
    """Those of the `known` names that `name` may mean, the most similar first.

    Case does not count, nor does the way in which words are joined.
    """
    plain = {}
    for each in known:
        plain.setdefault(_plain(each), each)
    wanted = _plain(str(name))
    found = difflib.get_close_matches(wanted, plain, max(1, len(plain)), LIKE)
    likeness = {each: difflib.SequenceMatcher(None, each, wanted).ratio() for each in found}
    best = max(likeness.values(), default=0.0)
    close = [each for each in plain if likeness.get(each, 0.0) >= max(LIKE, best - MARGIN)]
    return [plain[each] for each in sorted(close, key=likeness.get, reverse=True)[:most]]


def proposal(names: Iterable[str], *, after: str = "") -> str:
    """The question that proposes names, `after` something: "did you mean a or b?"; "" for none."""
    names = list(names)
    if not names:
        return ""
    *others, last = names
    return f"{after}did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def advice(name: object, known: Iterable[str]) -> str:
    """What to choose instead of an unknown name: near ones if there are some, and the whole list.

    It continues a message that says what is wrong: "unknown model 'hrnet'; " + advice.
    """
    known = list(known)
    question = proposal(near(name, known))
    choose = f"{'Choose' if question else 'choose'} one of: {', '.join(known)}"
    return f"{question} {choose}" if question else choose


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """The message that `name` is not one of the `known`; `what` says what they are."""
    return f"unknown {what} {name!r}; {advice(name, known)}"


def near_files(path: str | os.PathLike, folders: Iterable[str | os.PathLike] = ()) -> list[str]:
    """What the missing `path` may mean: near names in its folder and in `folders`.

    For a name with an ending, these are files with the same one.
    """
    path = pathlib.Path(path)
    files = {}
    for folder in (path.parent, *map(pathlib.Path, folders)):
        for file in _listed(folder, path.suffix):
            files.setdefault(file.name, file)
    if path.name in files:  # the folder was wrong
        return [str(files[path.name])]
    return [str(files[name]) for name in near(path.name, files)]


def instead_of(path: str | os.PathLike) -> str:
    """The end of a message about a missing file: "; did you mean …?", or "" without a near one."""
    return proposal(near_files(path), after="; ")


def _listed(folder, suffix):
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return []
    return [file for file in files if suffix in ("", file.suffix)]


def _plain(name):
    return name.lower().replace("-", "_").replace(" ", "_")
