"""The demo notebook is valid and runs from top to bottom."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / "notebooks" / "demo.ipynb"


def code_cells():
    """The code cells except the one that installs."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    install = [cell for cell in code if "install" in cell["metadata"].get("tags", ())]
    assert len(install) == 1
    return ["".join(cell["source"]) for cell in code if cell not in install]


def test_cells_are_plain_python_with_explanations():
    for source in code_cells():
        ast.parse(source)
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds[0] == "markdown"
    assert "code code code" not in " ".join(kinds)
    assert kinds.count("markdown") >= 8


def test_the_notebook_is_committed_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.long
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    pytest.importorskip("matplotlib")
    # Keeps the figures as files for inspection.
    ending = """
for number in plt.get_fignums():
    plt.figure(number).savefig(f"figure{number}.png", dpi=60)
"""
    (tmp_path / "demo.py").write_text("\n\n".join([*code_cells(), ending]))
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MPLBACKEND": "agg"}
    own |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "demo.py"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **own}, check=True, timeout=360)
    scores = json.loads((tmp_path / "runs/demo/eval/val/metrics.json").read_text())
    assert scores["PCKh@0.5"] > 50  # the mean pose scores 26
    assert len(list(tmp_path.glob("figure*.png"))) == 5
