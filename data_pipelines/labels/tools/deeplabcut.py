"""DeepLabCut and Lightning Pose: CollectedData_….csv, of one animal or several.

Four or three header rows (scorer, individuals, bodyparts, coords), then a row per image. Empty
cells are joints that are not labeled; there is no visibility, no box and no image size. The .h5
beside the CSV holds the same numbers with pickled column names and is not read.
"""

import csv
import pathlib

from data_pipelines import files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet
from data_pipelines.labels.readers import yaml_files

LARGEST_FILE = 2**30  # bytes
ANIMAL = "animal"
UNIQUE = "single"  # the individual with body parts that no animal has, such as a box's corners
HEADER = ("scorer", "individuals", "bodyparts", "coords")
EMPTY = ("", "nan", "NaN", "NAN")


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a CSV, or of all CSV files named CollectedData of a project's folder."""
    if source.suffix.lower() in (".h5", ".hdf5"):
        raise ValueError(
            f"{source}: its column names are pickled, and reading those may run programs; import "
            f"the CSV with the same numbers, {source.with_suffix('.csv').name}"
        )
    if source.suffix.lower() in (".yaml", ".yml"):
        source = source.parent
    paths = options.find_files(source, (".csv",), what="CollectedData_….csv")
    named = [path for path in paths if path.name.startswith("CollectedData")]
    collector = columns.Collector()
    for path in named or paths:
        _read_file(path, _limbs(path, source), given, collector)
    return collector.labels()


def _limbs(path, source):
    """The pairs of body parts that config.yaml draws, of the project that the file is in."""
    top = source if source.is_dir() else source.parent.parent.parent
    for folder in (path.parent, *path.parent.parents):
        config = folder / "config.yaml"
        if config.is_file():
            pairs = yaml_files.read(config).get("skeleton") or []
            good = isinstance(pairs, list) and all(
                isinstance(x, list) and len(x) == 2 for x in pairs
            )
            return [tuple(map(str, pair)) for pair in pairs] if good else []
        if folder == top:
            break
    return []


def _rows(path):
    """The cells of each row with the number of its line."""
    try:
        text = files.read_bytes(path, limit=LARGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8 ({error})") from error
    reader = csv.reader(text.splitlines())
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from error


def _read_file(path, limbs, given, collector):
    rows = _rows(path)
    header = {row[0]: row for _, row in rows[:4] if row[0] in HEADER}
    if not {"bodyparts", "coords"} <= header.keys():
        raise ValueError(
            f"{path} is not DeepLabCut's CSV: expected rows that start with scorer, bodyparts and "
            "coords"
        )
    coords = header["coords"]
    if "likelihood" in coords:
        raise ValueError(
            f"{path} holds predictions (a likelihood for every joint), not labels; import "
            "CollectedData_….csv"
        )
    first = next((column for column, name in enumerate(coords) if name == "x"), 0)
    if (
        not first
        or coords[first::2] != ["x"] * len(coords[first::2])
        or len(coords) % 2 != first % 2
    ):
        raise ValueError(f"{path}: the row coords holds {coords[:6]}; expected x, y, x, y, …")
    individuals = _individuals(path, header, first, len(coords))
    sets = _joint_sets(path, individuals, limbs, given, collector)
    for line, row in rows[len(header) :]:
        _read_row(f"{path}: line {line}", row, first, len(coords), individuals, sets, collector)


def _individuals(path, header, first, end):
    """The columns of x of every body part, by individual."""
    parts, owners = header["bodyparts"], header.get("individuals")
    if len(parts) != end or (owners and len(owners) != end):
        raise ValueError(f"{path}: the header rows have different lengths")
    found = {}
    for column in range(first, end, 2):
        owner = owners[column] if owners else ANIMAL
        found.setdefault(owner, {})
        if parts[column] in found[owner]:
            raise ValueError(f"{path} has the body part {parts[column]!r} of {owner} twice")
        found[owner][parts[column]] = column
    return found


def _joint_sets(path, individuals, limbs, given, collector):
    """The place of the joint set of every individual."""
    sets = {}
    for owner, parts in individuals.items():
        category = UNIQUE if owner == UNIQUE and len(individuals) > 1 else ANIMAL
        names = tuple(name for name in given.joints or parts if name in parts)
        for name in parts.keys() - set(names):
            collector.notes.lost("body parts that were not asked for", f"{name}: {path}")
        pairs = [(names.index(a), names.index(b)) for a, b in limbs if a in names and b in names]
        if names:
            sets[owner] = collector.add_set(JointSet(category, names, limbs=tuple(pairs)))
    return sets


def _read_row(place, row, first, end, individuals, sets, collector):
    if len(row) > end or len(row) < first:
        raise ValueError(f"{place} has {len(row)} cells; the header has {end}")
    row = [*row, *[""] * (end - len(row))]  # programs leave out empty cells at the end
    name = "/".join(cell for cell in row[:first] if cell).replace("\\", "/")
    if not name:
        raise ValueError(f"{place} does not name its image")
    if name.isdigit():
        raise ValueError(f"{place} names a frame's number and no image: these are predictions")
    image = collector.add_image(Image(name, group=name.rpartition("/")[0]))
    for owner, joint_set in sets.items():
        parts = individuals[owner]
        names = collector.joint_sets[joint_set].names
        joints = [_joint(row, parts[joint], f"{place}: {joint}") for joint in names]
        if any(joint[2] for joint in joints):
            collector.add(image, joint_set, joints)


def _joint(row, column, place):
    x, y = row[column].strip(), row[column + 1].strip()
    if x in EMPTY or y in EMPTY:
        return (0.0, 0.0, 0)
    return (columns.number(x, place, "x"), columns.number(y, place, "y"), columns.VISIBLE)
