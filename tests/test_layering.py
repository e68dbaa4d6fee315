"""docs/architecture.md says which room may import which; these tests read the imports."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("hrjax", "data_pipelines")
MOST_MODULES = 12  # in one folder, besides its __init__
# What a room may import of this project besides itself; a room is a folder or a top-level module.
DATA = {f"data_pipelines.{name}" for name in ("skeletons", "geometry", "images", "splits")}
FILES = {f"data_pipelines.{name}" for name in ("files", "json_files", "coco_json", "coco_columns")}
FILES |= {"data_pipelines.ground_truth"}
MESSAGES = {"data_pipelines.messages"}  # of which every room makes use
ALLOWED = {
    "data_pipelines.messages": set(),
    "data_pipelines.synthetic": {"data_pipelines.skeletons", "data_pipelines.geometry"},
    "data_pipelines.readers": DATA | FILES,
    "data_pipelines.labels": {
        *(f"data_pipelines.{name}" for name in ("skeletons", "geometry", "images")),
        *("data_pipelines.files", "data_pipelines.json_files"),
    },
    "data_pipelines.transforms": DATA,
    "data_pipelines.batching": {*DATA, "data_pipelines.transforms"},
    "data_pipelines.downloads": {"data_pipelines.files"},
    "data_pipelines.files": set(),
    "hrjax.models": set(),
    "hrjax.runtime": set(),
    "hrjax.heatmaps": set(),
    "hrjax.detections": set(),
    "hrjax.oks": set(),
    "hrjax.calibration": {"hrjax.detections"},
    "hrjax.text_tables": set(),
    "hrjax.inference": {"data_pipelines.skeletons", "hrjax.heatmaps", "hrjax.models"},
    "hrjax.visualize": {f"data_pipelines.{name}" for name in ("files", "skeletons", "transforms")},
    "hrjax.recipes": {"hrjax.models"},
    "hrjax.weights": {
        *(f"data_pipelines.{name}" for name in ("skeletons", "geometry", "datasets")),
        *("data_pipelines.downloads", "data_pipelines.files"),
        *(f"hrjax.{name}" for name in ("models", "heatmaps", "recipes", "runtime")),
        "hrjax.calibration",
    },
}
# Pairs of rooms of which the first must not import the second.
APART = (
    ("hrjax.evaluation", "hrjax.training"),
    ("hrjax.evaluation", "hrjax.prediction"),
    ("hrjax.training", "hrjax.prediction"),
    ("hrjax.prediction", "hrjax.training"),
    ("hrjax.error_analysis", "hrjax.evaluation"),
)


def modules() -> list[str]:
    """The dotted names of all modules of both packages."""
    files = [file for package in PACKAGES for file in ROOT.glob(f"{package}/**/*.py")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return sorted(name.removesuffix(".__init__") for name in names)


MODULES = frozenset(modules())


def imports(module: str) -> set[str]:
    """The modules that `module` imports, also inside functions."""
    base = ROOT / module.replace(".", "/")
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = {name for name in members if name in MODULES or name == "flax.nnx"}
            imported |= inside or {node.module}
    return imported - {module}


def room(module: str) -> str:
    """The folder that a module is in, or the module itself at the top of a package."""
    return ".".join(module.split(".")[:2])


def rooms() -> dict[str, set[str]]:
    """Every room with the rooms that it imports."""
    graph = {}
    for module in MODULES - set(PACKAGES):
        ours = {room(name) for name in imports(module) if name in MODULES}
        graph.setdefault(room(module), set()).update(ours - {room(module)} - set(PACKAGES))
    return graph


def test_rooms_do_not_import_each_other_in_circles():
    list(graphlib.TopologicalSorter(rooms()).static_order())


def test_modules_do_not_import_each_other_in_circles():
    graph = {module: imports(module) & MODULES for module in MODULES - set(PACKAGES)}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(name):
    assert rooms()[name] <= ALLOWED[name] | (MESSAGES - {name})


@pytest.mark.parametrize(("importer", "other"), APART)
def test_rooms_that_stay_apart(importer, other):
    assert other not in rooms()[importer]


def test_no_folder_holds_more_modules_than_one_can_overlook():
    folders = {file.parent for package in PACKAGES for file in ROOT.glob(f"{package}/**/*.py")}
    crowded = {folder.name for folder in folders if len([*folder.glob("[!_]*.py")]) > MOST_MODULES}
    assert not crowded


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith("data_pipelines")))
def test_data_pipelines_need_neither_jax_nor_hrjax(module):
    roots = {name.split(".")[0] for name in imports(module)}
    assert not roots & {"jax", "flax", "optax", "orbax", "hrjax", "configs"}


def test_only_models_import_nnx():
    # complexity walks a network's modules, networks hands modules to users; to all others a network
    # is a graph and plain dicts.
    users = {room(module) for module in MODULES if "flax.nnx" in imports(module)}
    assert users <= {"hrjax.models", "hrjax.complexity", "hrjax.networks"}


def test_recipes_import_only_common():
    for file in ROOT.glob("configs/*.py"):
        if file.stem not in ("__init__", "common"):
            lines = [line for line in file.read_text().split("\n") if "import" in line.split()[:1]]
            assert not lines
            assert "from configs import common" in file.read_text()
