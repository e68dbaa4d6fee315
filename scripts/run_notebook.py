"""Runs notebooks/demo.ipynb from top to bottom and stores its outputs and pictures in it.

    python scripts/run_notebook.py             # needs pip install -e '.[notebook,plots]'; minutes
    python scripts/run_notebook.py --address   # only writes the repository's address into it

Either way the badge that opens the notebook in Colab, and its variable REPOSITORY, get the address
of the repository from mkdocs.yml (`repo_url`). The cell that installs hrjax is not run. The data
and the run of the notebook go into a temporary folder.
"""

import hashlib
import itertools
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator

from data_pipelines import files
from hrjax.runtime import script_options, terminal

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "demo.ipynb"
COLAB = "https://colab.research.google.com"
INSTALL = "install"  # the tag of the cell that installs


def main() -> None:
    parser = script_options.make(__doc__)
    parser.add_argument("--address", action="store_true", help="run nothing, keep the outputs")
    options = script_options.parse(parser)
    notebook = with_address(json.loads(NOTEBOOK.read_text(encoding="utf-8")), repository())
    if not options.address:
        notebook = run(notebook)
    files.write_text(NOTEBOOK, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {NOTEBOOK.relative_to(ROOT)}, {NOTEBOOK.stat().st_size / 1e6:.2f} MB")


def repository() -> str:
    """The address of the repository, from mkdocs.yml."""
    return re.search(r"^repo_url: (\S+)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)[1]


def with_address(notebook: dict, address: str) -> dict:
    """The notebook with the address of the repository in its badge and in its variable."""
    place = f"{address.removeprefix('https://github.com/')}/blob/main/notebooks/demo.ipynb"

    def replace(line):
        line = re.sub(rf"{COLAB}/github/[^)\s]+", f"{COLAB}/github/{place}", line)
        return re.sub(r'^REPOSITORY = "[^"]*"', f'REPOSITORY = "{address}"', line)

    cells = [{**cell, "source": [*map(replace, cell["source"])]} for cell in notebook["cells"]]
    return {**notebook, "cells": cells}


def run(notebook: dict) -> dict:
    """The notebook with the outputs of its cells, each with a digest of the code that it ran."""
    try:
        import nbclient
        import nbformat
    except ImportError as error:
        raise ValueError("running the notebook needs: pip install -e '.[notebook]'") from error
    executed = nbformat.reads(json.dumps(notebook), as_version=4)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    sources = [cell.source for cell in code]
    for cell in code:
        if INSTALL in cell.metadata.get("tags", ()):
            cell.source = ""
    os.environ["PYTHONWARNINGS"] = "ignore"  # of tqdm, that it draws no widgets
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(executed, timeout=1200, resources=resources).execute()
    for number, (cell, source) in enumerate(zip(code, sources, strict=True), 1):
        digest = hashlib.sha256("".join(source).encode()).hexdigest()
        cell.source, cell.execution_count = source, number
        cell.metadata["executed"] = digest[:16]
        cell.metadata.pop("execution", None)
        cell.outputs = [*tidy(cell.outputs)]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    return json.loads(nbformat.writes(executed))


def tidy(outputs: list) -> Iterator:
    """Outputs as they look at the end: streams in one piece, of progress bars only full ones."""
    for name, group in itertools.groupby(outputs, key=lambda output: output.get("name")):
        if name is None:
            yield from group
            continue
        first, *rest = group
        text = "".join(output["text"] for output in (first, *rest))
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text))
        whole = [line.rstrip() for line in lines if "%|" not in line or "100%|" in line]
        # A full bar is drawn several times; the last one has the whole time.
        bars = {line.split("%|")[0]: place for place, line in enumerate(whole) if "%|" in line}
        shown = [
            line
            for place, line in enumerate(whole)
            if line.strip() and bars.get(line.split("%|")[0], place) == place
        ]
        if shown:
            first["text"] = "\n".join(shown) + "\n"
            yield first


if __name__ == "__main__":
    terminal.run(main)
