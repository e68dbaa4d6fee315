"""docs/architecture.md says who may import whom; these tests read the imports."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Each module may import only modules of earlier rows.
LAYERS = (
    ("data_pipelines.skeletons", "data_pipelines.geometry"),
    ("data_pipelines.dataset", "data_pipelines.postures"),
    ("data_pipelines.keypoint_file", "data_pipelines.records", "data_pipelines.clothes"),
    ("data_pipelines.people", "data_pipelines.mpii"),
    (
        *("data_pipelines.coco", "data_pipelines.crowdpose", "data_pipelines.ochuman"),
        *("data_pipelines.custom", "data_pipelines.order"),
        *("data_pipelines.mixture", "data_pipelines.watch"),
    ),
    ("data_pipelines.ops", "data_pipelines.pixels", "data_pipelines.figures"),
    ("data_pipelines.check", "data_pipelines.sources", "data_pipelines.scenes"),
    ("data_pipelines.synthetic",),
    ("data_pipelines.pipeline",),
    (
        *("hrjax.models.layers.backend_ops", "hrjax.models.layers.initialization"),
        "hrjax.models.layers.resizing",
    ),
    (
        *("hrjax.models.layers.functional", "hrjax.models.layers.remat"),
        "hrjax.models.layers.drop_path",
    ),
    ("hrjax.models.layers.norms",),
    ("hrjax.models.layers.convolutions",),
    ("hrjax.models.layers.blocks",),
    ("hrjax.models.layers",),
    ("hrjax.models.highres",),
    (
        *("hrjax.models.hrnet", "hrjax.models.resnet", "hrjax.models.litehrnet"),
        *("hrjax.models.ditehrnet", "hrjax.models.widehrnet"),
        *("hrjax.models.hrformer", "hrjax.models.hrnext"),
    ),
    ("hrjax.models.efenet", "hrjax.models.pure"),
    ("hrjax.models.registry",),
    ("hrjax.models", "hrjax.packing"),
    (
        *("hrjax.heatmaps", "hrjax.losses", "hrjax.optim", "hrjax.checkpoints"),
        *("hrjax.oks", "hrjax.visualize", "hrjax.logs", "hrjax.runs"),
        *("hrjax.launch", "hrjax.state"),
        *("hrjax.dialects", "hrjax.download", "hrjax.safe_pickle"),
        *("hrjax.media", "hrjax.detect"),
    ),
    (
        *("hrjax.weights", "hrjax.weight_files", "hrjax.complexity", "hrjax.boxes"),
        *("hrjax.metrics", "hrjax.average_precision"),
    ),
    ("hrjax.scores", "hrjax.restoring", "hrjax.matching", "hrjax.charts", "hrjax.results"),
    ("hrjax.analysis",),
    ("hrjax.html_report",),
    ("hrjax.reports",),
    ("hrjax.evaluate", "hrjax.distill"),
    ("hrjax.step", "hrjax.loop", "hrjax.pretrained"),
    ("hrjax.train", "hrjax.predict"),
    ("hrjax.main", "hrjax.annotate"),
)
NAMED = {"flax.nnx"}  # packages of others that a rule is about
ROW = {module: row for row, modules in enumerate(LAYERS) for module in modules}


def imports(module: str) -> set[str]:
    """The modules of this project that `module` imports, also inside functions."""
    base = ROOT / module.replace(".", "/")
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in ROW or name in NAMED else node.module for name in inside}
    return found


def modules() -> list[str]:
    files = [*ROOT.glob("hrjax/**/*.py"), *ROOT.glob("data_pipelines/*.py")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.mark.parametrize("module", sorted(set(modules()) - {"hrjax", "data_pipelines"}))
def test_imports_only_what_stands_above_it(module):
    assert module in ROW, f"give {module} its row in LAYERS and in docs/architecture.md"
    ours = {name for name in imports(module) if name.split(".")[0] in ("hrjax", "data_pipelines")}
    below = {name for name in ours if name not in ROW or ROW[name] >= ROW[module]}
    assert not below


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("data")])
def test_data_pipelines_need_neither_jax_nor_hrjax(module):
    roots = {name.split(".")[0] for name in imports(module)}
    assert not roots & {"jax", "flax", "optax", "orbax", "hrjax"}


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("hrjax")])
def test_only_models_import_nnx(module):
    # complexity walks a network's modules; to all others a network is a graph and plain dicts.
    allowed = module.startswith("hrjax.models") or module == "hrjax.complexity"
    assert allowed or "flax.nnx" not in imports(module)


def test_recipes_import_only_common():
    for file in ROOT.glob("configs/*.py"):
        if file.stem not in ("__init__", "common"):
            lines = [line for line in file.read_text().split("\n") if "import" in line.split()[:1]]
            assert not lines
            assert "from configs import common" in file.read_text()
