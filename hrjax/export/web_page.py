"""A folder for any static web host: a page that finds joints in the visitor's browser."""

import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from typing import Any

from data_pipelines import files
from hrjax.export import onnx_model, programs
from hrjax.weights import source

PAGE = pathlib.Path(__file__).parents[2] / "web"
MODEL = "model.onnx"
PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
TARBALL = f"https://registry.npmjs.org/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"
# What the page loads of the package, for WebAssembly alone and for WebGPU, by the names in its
# folder: many web servers do not send .mjs files as JavaScript.
RUNTIME = {
    "ort.wasm.js": "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.js": "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}
MOST_BYTES = 2**27  # of a file in the package
PATIENCE = 600  # seconds for npm


def export_web(
    checkpoint: str | os.PathLike | source.Source,
    folder: str | os.PathLike,
    *,
    onnxruntime_web: str | os.PathLike | None = None,
    flip_test: bool = False,
    **settings: Any,
) -> pathlib.Path:
    """Writes a page that finds joints in photographs and camera frames; the folder's path.

    The folder holds the page, the network as model.onnx, and onnxruntime-web, and can be served by
    any static web host. `onnxruntime_web` is npm's package of that name as a .tgz file or an
    unpacked folder; by default npm fetches it. `flip_test` costs half of the frames per second;
    `settings` are the others of `export_onnx`. An earlier page is replaced.
    """
    folder = pathlib.Path(folder)
    if settings.get("decode") == programs.HEATMAPS:
        raise ValueError("the page shows keypoints; expected a method of decoding, got 'none'")
    pages = _page_files()
    _check_folder(folder)
    with tempfile.TemporaryDirectory() as temporary:
        copied = pages | find_runtime(onnxruntime_web, pathlib.Path(temporary))
        onnx_model.export_onnx(checkpoint, folder / MODEL, flip_test=flip_test, **settings)
        for name, file in copied.items():
            files.write_bytes(folder / name, files.read_bytes(file, limit=MOST_BYTES))
    return folder


def _check_folder(folder):
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected a folder to write the page to")
    if files.is_same(folder, PAGE):
        raise ValueError(f"{folder} holds the page's own sources; write to another folder")
    others = [*folder.iterdir()] if folder.exists() else []
    if others and not (folder / MODEL).exists():
        raise ValueError(
            f"{folder} holds other files, {others[0].name} among them; expected a new or empty "
            "folder, or one with an earlier page"
        )


def _page_files():
    if not (PAGE / "index.html").is_file():
        raise FileNotFoundError(
            f"there is no {PAGE / 'index.html'}: the page is in the folder web/ of hrjax's "
            "repository, and an installed package lacks it; use a clone of the repository"
        )
    return {file.name: file for file in sorted(PAGE.iterdir()) if file.is_file()}


def find_runtime(
    package: str | os.PathLike | None, temporary: pathlib.Path
) -> dict[str, pathlib.Path]:
    """The files of onnxruntime-web that the page loads, by their names in its folder.

    `package` is a .tgz file, which is unpacked to `temporary`, or the folder of the package or of
    its dist; None asks npm.
    """
    place = pathlib.Path(package) if package else _fetch(temporary)
    if not place.exists():
        raise FileNotFoundError(f"there is no file or folder {place}")
    if place.is_file():
        place = _unpack(place, temporary)
    folders = (place, place / "dist", place / "package" / "dist", place / PACKAGE / "dist")
    first, *_ = RUNTIME.values()
    folder = next((each for each in folders if (each / first).is_file()), place)
    lacking = [name for name in RUNTIME.values() if not (folder / name).is_file()]
    if lacking:
        raise FileNotFoundError(
            f"{place} lacks {', '.join(lacking)}; expected the package {PACKAGE} {VERSION}, as a "
            ".tgz file or unpacked"
        )
    return {name: folder / theirs for name, theirs in RUNTIME.items()}


def _fetch(temporary):
    """The package as a .tgz file, fetched and checked by npm, which keeps a copy of its own."""
    by_hand = f"download {TARBALL} and give that file as onnxruntime_web"
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"npm, which fetches {PACKAGE}, was not found; install Node.js, or {by_hand}"
        )
    options = ("--loglevel=error", f"--pack-destination={temporary}")
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise ValueError(f"npm did not fetch {PACKAGE} in {PATIENCE} s; {by_hand}") from None
    archives = [*temporary.glob("*.tgz")]
    if done.returncode or len(archives) != 1:
        reason = " ".join((done.stderr or done.stdout).split())[:200]
        raise ValueError(f"npm could not fetch {PACKAGE} {VERSION} ({reason}); {by_hand}")
    return archives[0]


def _unpack(archive, temporary):
    """The folder with those files of the package that the page loads."""
    folder = temporary / "unpacked"
    folder.mkdir()
    try:
        with tarfile.open(archive, "r:gz") as package:
            for member in package:
                name = pathlib.PurePosixPath(member.name).name
                if name in RUNTIME.values() and member.isreg() and member.size <= MOST_BYTES:
                    (folder / name).write_bytes(package.extractfile(member).read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            f"{archive} is not the package {PACKAGE} as npm packs it, a .tgz file: {error}"
        ) from error
    return folder
