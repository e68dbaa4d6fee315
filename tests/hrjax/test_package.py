"""What `import hrjax` gives."""

import importlib.metadata
import pathlib
import pydoc
import subprocess
import sys

import pytest

import data_pipelines
import hrjax


def test_dir_has_all_public_names():
    assert set(hrjax.__all__) <= set(dir(hrjax))
    assert {"Predictor", "__version__", "create", "list_models", "models"} <= set(dir(hrjax))
    assert all(getattr(hrjax, name) is not None for name in hrjax.__all__)


def test_help_shows_all_public_functions():
    text = pydoc.render_doc(hrjax, renderer=pydoc.plaintext)
    for name in ("create", "split", "apply", "list_models", "from_torch", "Predictor"):
        assert f"\n    {name}(" in text or f"\n    class {name}" in text
    assert f"VERSION\n    {hrjax.__version__}" in text


def test_the_version_is_that_of_the_installed_package():
    assert hrjax.__version__ == importlib.metadata.version("hrjax")


def test_without_installation_the_version_is_unknown(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert hrjax.__version__ == "0+unknown"


def test_unknown_attributes_are_an_error():
    with pytest.raises(AttributeError, match="module 'hrjax' has no attribute 'creat'"):
        _ = hrjax.creat


def test_importing_brings_no_reader_of_data():
    code = "import sys, hrjax; print({'grain', 'cv2', 'data_pipelines'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


@pytest.mark.parametrize("package", [hrjax, data_pipelines])
def test_packages_are_marked_as_typed(package):
    assert (pathlib.Path(package.__file__).parent / "py.typed").exists()
