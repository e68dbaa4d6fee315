"""Commands and code of the pages in Markdown: found, made small, and run in a folder of their own.

A page runs as a reader runs it, from top to bottom: its commands, then its Python as one program.
`NOT_RUN` says which commands are left out, and why; `INSTEAD` what stands in for data, networks and
downloads that a test has not got; `SMALLER` what makes a training short.
"""

import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import cv2

ROOT = pathlib.Path(__file__).parent.parent
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.md"))
PAGES = [ROOT / "README.md", ROOT / "docs" / "python.md", *TUTORIALS]
TINYPOSE = ROOT.parent / "shared" / "weights" / "tinypose_256x192.npz"
TINY = "hrnet_tiny"
PROGRAMS = ("python -m hrjax.main ", "python scripts/", "python examples/")

NOT_RUN = {
    r"pip install -e '\.\[test\]' && pytest": ".ci/run installs and tests by this very line",
    r"pip install -e \S+": "tests run where hrjax is installed already",
    r".* download --dataset=\w+": "needs a network, and fetches gigabytes",
}
INSTEAD = {
    r"(hrnet_w32|litehrnet_30)_coco\b": "{published}",  # a download
    r"hrnet_w32_coco_256x192-c78dce93_20200708\.pth": "mmpose.npz",  # a download
    r"pose_hrnet_w32_256x192\.pth|hrnet_w32-36af842e\.pth|ADDRESS": "tiny.safetensors",  # downloads
    r"=yolox_s\b": "=hog",  # a download
    r"(recommend --root=data/mice)$": r"\1 --weights=tiny.safetensors",  # else training downloads
    r"--from=cvat --labels=annotations\.xml": "--from=coco --labels=labels.json --images=photos",
    r"configs/hrnet_coco\.py:hrnet_w48": f"configs/hrnet_coco.py:{TINY}",
    r"configs/hrnet_coco\.py(?!:)": f"configs/hrnet_coco.py:{TINY}",
}
INSTEAD_IN_PYTHON = {
    r'weights="hrnet_w32_coco"': 'weights="tiny.safetensors"',
    r'"(hrnet_w32|litehrnet_30)_coco"': '"{published}"',
    r'"yolox_s"': '"hog"',
    r'"hrnet_w32"': f'"{TINY}"',
    r'"widehrnet_18"': f'"{TINY}"',
}
# What a reader has before a page begins, besides the files of `make_folder`.
BEFORE = {
    "python.md": ["python -m hrjax.main --config=configs/quickstart.py"],
    "photo.md": ["python -m hrjax.main --config=configs/quickstart.py"],
    "mmpose.md": [
        "python scripts/prepare_data.py split --annotations=labels.json --images=photos "
        "--root=data/mice"
    ],
}
DEFINED_BEFORE = {
    "python.md": "import hrjax, jax, numpy as np\n"
    "photos = np.zeros((2, 64, 64, 3), np.uint8)\n"
    "key = jax.random.key(0)\n"
    f"_, *weights = hrjax.split(hrjax.create('{TINY}'))\n"
    f"state_dict = hrjax.to_torch('{TINY}', *weights)\n"
}
QUICK = (
    *("--config.train.epochs=1", "--config.train.batch_size=4", "--config.eval.batch_size=4"),
    *("--config.train.batch_norm_size=0", "--config.optimizer.schedule=cosine"),
)
NARROW = ("--config.model.width=8", "--config.model.modules=(1,)", "--config.model.blocks=1")
SMALL_INPUT = "--config.data.input_size=64,64"
DRAWN = {"train_images": 20, "val_images": 6}
SMALLER = {
    r"--config=configs/quickstart": (
        *QUICK,
        *NARROW,
        *(f"--config.data.draw.{k}={v}" for k, v in DRAWN.items()),
    ),
    r"--config=configs/widehrnet": (*QUICK, *NARROW, SMALL_INPUT),
    r"--config=configs/hrnet_coco": (*QUICK, SMALL_INPUT),
    r"--config=data/mice\.py": QUICK,
}


@dataclasses.dataclass(frozen=True)
class Page:
    """The commands of a page, its Python as one program, and its other blocks, of files."""

    path: pathlib.Path
    commands: tuple[str, ...]
    code: str
    others: str


@functools.cache
def site_hooks():
    """docs/hooks.py, which tells languages apart."""
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: pathlib.Path) -> Page:
    """What a page has to run."""
    hooks = site_hooks()
    blocks = [match[1] for match in hooks.BLOCK.finditer(path.read_text(encoding="utf-8"))]
    blocks = [re.sub("^ {4}", "", block, flags=re.MULTILINE) for block in blocks]
    by_language = {"bash": [], "python": [], "text": []}
    for block in blocks:
        by_language[hooks.language(block)].append(block)
    lines = re.sub(r"\\\n\s*", "", "".join(by_language["bash"])).splitlines()
    commands = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    code, others = "\n".join(by_language["python"]), "".join(by_language["text"])
    return Page(path, tuple(filter(None, commands)), code, others)


def reason_not_to_run(command: str) -> str:
    """Why a command is left out; "" if it is run."""
    reasons = [reason for pattern, reason in NOT_RUN.items() if re.fullmatch(pattern, command)]
    return reasons[0] if reasons else ""


def prepare(command: str, published: str) -> list[str]:
    """The arguments of a command with what stands in for what is missing, made small."""
    flags = [flags for pattern, flags in SMALLER.items() if re.search(pattern, command)]
    for pattern, other in INSTEAD.items():
        command = re.sub(pattern, other.format(published=published), command)
    _, *arguments = shlex.split(command)
    if "--mode=eval" in arguments:
        flags = [[flag for flag in each if "train" not in flag] for each in flags]
    return [sys.executable, *arguments, *(flag for each in flags for flag in each)]


def run_page(page: Page, folder: pathlib.Path) -> Iterator[str]:
    """Runs a page in a folder; yields what failed, with the end of its output."""
    make_folder(folder)
    published = str(TINYPOSE) if page.path.name == "README.md" and TINYPOSE.exists() else ""
    published = published or "tiny.safetensors"
    for command in (*BEFORE.get(page.path.name, ()), *page.commands):
        if not reason_not_to_run(command):
            yield from _run(command, prepare(command, published), folder)
    if page.code:
        code = page.code
        for pattern, other in INSTEAD_IN_PYTHON.items():
            code = re.sub(pattern, other.format(published=published), code)
        code = DEFINED_BEFORE.get(page.path.name, "") + code
        yield from _run("the Python of the page", [sys.executable, "-c", code], folder)


def _run(title, arguments, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        yield f"{title}\nwas run as {shlex.join(arguments[1:])}\n{done.stderr[-1500:]}"


def make_folder(folder: pathlib.Path) -> None:
    """Fills a folder with what a reader has: a clone, datasets, photographs, weights."""
    from configs import quickstart
    from data_pipelines.synthetic import drawing

    for name in ("configs", "data_pipelines", "docs", "examples", "hrjax", "scripts"):
        (folder / name).symlink_to(ROOT / name, target_is_directory=True)
    data = folder / "data"
    root = data / "synthetic"
    drawing.write(root, **DRAWN, seed=quickstart.get_config().data.draw.seed)
    for name in ("coco", "mpii"):
        (data / name).symlink_to(root, target_is_directory=True)
    _add_detections(root)
    shutil.copytree(root / "images" / "train2017", folder / "photos")
    shutil.copy(root / "annotations" / "person_keypoints_train2017.json", folder / "labels.json")
    photograph = cv2.imread(str(next(iter(sorted((folder / "photos").iterdir())))))
    cv2.imwrite(str(folder / "photo.jpg"), cv2.resize(photograph, None, fx=2, fy=2))
    _write_film(folder / "walk.mp4")
    _write_weights(folder)


def _add_detections(root):
    """The boxes of the annotations as those of a detector."""
    truth = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    keys = ("image_id", "category_id", "bbox")
    rows = [{**{key: row[key] for key in keys}, "score": 0.9} for row in truth["annotations"]]
    file = root / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json"
    file.parent.mkdir()
    file.write_text(json.dumps(rows))


def _write_film(file):
    from data_pipelines.synthetic import films
    from hrjax.prediction.film import writing

    film = films.plan(0, frames=6, people=2, image_size=(480, 640))
    writer = writing.VideoWriter(file, film.rate)
    for image, _ in film:
        writer.write(image)
    writer.close()


def _write_weights(folder):
    """A small network, as a file like mmpose's and as one of ours with its card."""
    import convert_weights
    import hrjax
    from hrjax.weights import file_formats, source

    _, params, stats = hrjax.split(hrjax.create(TINY))
    file_formats.write(folder / "mmpose.npz", hrjax.to_torch(TINY, params, stats), None)
    opened = source.open(folder / "mmpose.npz", model=f"{TINY}_64x64")
    convert_weights.save(opened, folder / "tiny.safetensors")
