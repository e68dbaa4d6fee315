"""The demo notebook is valid, runs from top to bottom, and is stored with its outputs."""

import ast
import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from scripts import run_notebook

ROOT = pathlib.Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / "notebooks" / "demo.ipynb"


def stored_code_cells():
    """All code cells as they are stored."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def skipped(cell):
    """Whether a cell does nothing by default: it installs or downloads."""
    return bool({"install", "download"} & {*cell["metadata"].get("tags", ())})


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


def test_every_cell_was_run_in_order_and_shows_something():
    cells = stored_code_cells()
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    silent = [cell["id"] for cell in cells if not cell["outputs"] and not skipped(cell)]
    assert not silent
    assert all("error" not in output["output_type"] for cell in cells for output in cell["outputs"])


def test_stored_outputs_are_of_the_stored_code():
    # Otherwise the code was changed and the outputs are from before.
    for cell in stored_code_cells():
        if not skipped(cell):
            digest = hashlib.sha256("".join(cell["source"]).encode()).hexdigest()
            assert cell["metadata"]["executed"] == digest[:16], "run scripts/run_notebook.py"


def test_pictures_are_stored_small_and_show_something():
    pictures = []
    for cell in stored_code_cells():
        for output in cell["outputs"]:
            if content := output.get("data", {}).get("image/png"):
                content = base64.b64decode("".join(content))
                pictures.append(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    assert len(pictures) == 5
    assert all(picture.std() > 10 and min(picture.shape[:2]) > 100 for picture in pictures)
    assert NOTEBOOK.stat().st_size < 1.5e6


def test_no_output_names_a_folder_of_the_machine_it_ran_on():
    text = json.dumps([cell["outputs"] for cell in stored_code_cells()])
    assert not re.findall(r"/(?:home|root|tmp|work|Users)/[\w/.-]*", text)


def test_the_badge_and_the_variable_have_the_address_of_the_repository():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    address = run_notebook.repository()
    assert run_notebook.with_address(notebook, address) == notebook
    text = NOTEBOOK.read_text(encoding="utf-8")
    owner = address.removeprefix("https://github.com/")
    assert text.count(f"{run_notebook.COLAB}/github/{owner}/blob/main/notebooks/demo.ipynb") == 1
    changed = json.dumps(run_notebook.with_address(notebook, "https://github.com/they/theirs"))
    assert changed.count("they/theirs") == 2
    assert owner not in changed


def test_outputs_are_stored_as_they_look_at_the_end():
    texts = ("\rrun:   0%|  | 0/2", "\rrun: 100%|█▉| 2/2 [01", "\rrun: 100%|██| 2/2 [02\n")
    bars = [{"output_type": "stream", "name": "stderr", "text": text} for text in texts]
    said = {"output_type": "stream", "name": "stdout", "text": "done\n"}
    picture = {"output_type": "display_data", "data": {}}
    tidied = [*run_notebook.tidy([*bars, said, picture])]
    assert tidied[0]["text"] == "run: 100%|██| 2/2 [02\n"
    assert tidied[1:] == [said, picture]


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
