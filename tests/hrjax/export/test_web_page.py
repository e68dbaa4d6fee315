"""`hrjax.export_web`: the folder that it writes, and what is refused."""

import tarfile

import onnx
import pytest

import hrjax
from hrjax.export import web_page


@pytest.fixture
def package(tmp_path):
    """A folder that looks like npm's package."""
    folder = tmp_path / "package"
    (folder / "dist").mkdir(parents=True)
    for name in web_page.RUNTIME.values():
        (folder / "dist" / name).write_text(f"contents of {name}")
    return folder


def told(folder):
    return {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}


def test_the_folder_holds_page_network_and_runtime(portable, package, tmp_path):
    folder = hrjax.export_web(portable.weights, tmp_path / "page", onnxruntime_web=package)
    names = {file.name for file in folder.iterdir()}
    own = {file.name for file in web_page.PAGE.iterdir()}
    assert names == {"model.onnx", *own, *web_page.RUNTIME}
    assert (folder / "ort.wasm.js").read_text() == "contents of ort.wasm.bundle.min.mjs"
    assert told(folder)["flip_test"] == "false"


def test_an_earlier_page_is_replaced_and_settings_are_those_of_the_file(
    portable, package, tmp_path
):
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(package, "package")
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"earlier")
    (folder / "notes.txt").write_text("mine")
    settings = {"decode": "dark", "flip_test": True, "license_text": "CC0"}
    hrjax.export_web(portable.weights, folder, onnxruntime_web=archive, **settings)
    assert (folder / "ort.webgpu.js").read_text() == "contents of ort.webgpu.bundle.min.mjs"
    assert (folder / "notes.txt").read_text() == "mine"
    facts = told(folder)
    assert (facts["decode"], facts["flip_test"], facts["license"]) == ("dark", "true", "CC0")


def test_everything_that_the_page_asks_for_is_there():
    # What the runtime's two programs are called is known to the page's worker alone.
    worker = (web_page.PAGE / "worker.js").read_text()
    assert all(name in worker for name in web_page.RUNTIME)


def test_a_folder_of_other_files_is_left_alone(portable, package, tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("my home page")
    with pytest.raises(ValueError, match=r"site holds other files, index.html among them"):
        hrjax.export_web(portable.weights, folder, onnxruntime_web=package)
    with pytest.raises(ValueError, match=r"index.html is a file; expected a folder"):
        hrjax.export_web(portable.weights, folder / "index.html", onnxruntime_web=package)
    with pytest.raises(ValueError, match=r"holds the page's own sources"):
        hrjax.export_web(portable.weights, web_page.PAGE, onnxruntime_web=package)
    assert (folder / "index.html").read_text() == "my home page"


def test_heatmaps_cannot_be_shown(portable, package, tmp_path):
    with pytest.raises(ValueError, match="the page shows keypoints"):
        hrjax.export_web(
            portable.weights, tmp_path / "page", onnxruntime_web=package, decode="none"
        )


def test_a_package_that_is_not_complete(package, tmp_path):
    (package / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    with pytest.raises(FileNotFoundError, match=r"package lacks ort-wasm-simd-threaded\.wasm; exp"):
        web_page.find_runtime(package, tmp_path)
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"broken\.tgz is not the package onnxruntime-web as npm"):
        web_page.find_runtime(broken, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*nowhere"):
        web_page.find_runtime(tmp_path / "nowhere", tmp_path)


def test_without_npm_the_message_says_what_to_download(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"install Node\.js, or download https://registry"):
        web_page.find_runtime(None, tmp_path)


def test_where_npm_fails_its_reason_is_told(monkeypatch, tmp_path):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is down' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ValueError, match=r"\(npm error network is down\); download https://"):
        web_page.find_runtime(None, tmp_path)
