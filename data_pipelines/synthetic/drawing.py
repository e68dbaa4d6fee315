"""Synthetic datasets of drawn people, written to disk, so that nothing needs to be downloaded.

One folder serves both layouts, MPII and COCO, and is read by the readers of the real datasets:

    root/annotations/mpii_train.json, mpii_val.json, mpii_gt_val.mat
    root/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
    root/images/train2017/*.jpg, root/images/val2017/*.jpg
    root/synthetic.json                     the parameters it was drawn with
"""

import contextlib
import fcntl
import glob
import io
import itertools
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import cv2
import numpy as np
import scipy.io

from data_pipelines.messages import progress
from data_pipelines.skeletons import COCO
from data_pipelines.synthetic.scenes import Person, draw_scene

logger = logging.getLogger(__name__)

# Increase this when a change makes the same seed draw different images.
VERSION = 2
IMAGE_FOLDERS = {"train": "train2017", "val": "val2017"}
PARAMETERS_FILE = "synthetic.json"
DRAWING = ".{}.drawing"  # what stands beside a root while it is drawn
SMALLEST_SIDE = 64
# Names of MPII's joints in its ground-truth file.
MAT_JOINTS = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"),
    *("neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
# Workers are started as separate commands. This neither forks the caller's threads (JAX has many)
# nor, unlike multiprocessing, runs the caller's script again.
_WORKER_CODE = "from data_pipelines.synthetic import drawing; drawing._run_worker()"


def write_if_missing(
    root: str | os.PathLike,
    *,
    train_images: int,
    val_images: int,
    seed: int,
    image_size: tuple[int, int] = (240, 320),
    workers: int | None = None,
) -> None:
    """Writes the dataset unless `root` already holds it.

    Any other content of `root` is an error. The arguments are those of `write`. Of several
    processes that do this at the same time, one draws and the others wait.
    """
    root = pathlib.Path(root).absolute()
    parameters = _parameters(train_images, val_images, seed, image_size)
    if _holds_dataset(root, parameters):
        return
    with _alone(root):
        if not _holds_dataset(root, parameters):
            _write(root, parameters, workers)


def write(
    root: str | os.PathLike,
    *,
    train_images: int,
    val_images: int,
    seed: int,
    image_size: tuple[int, int] = (240, 320),
    workers: int | None = None,
) -> None:
    """Draws the dataset into `root`, which must be missing or empty.

    `image_size` is (height, width). `workers` is the number of processes; it defaults to the number
    of CPUs and does not affect the result. The files are written to a temporary folder next to
    `root`, which is renamed at the end, so an incomplete dataset is never left behind.
    """
    root = pathlib.Path(root).absolute()
    parameters = _parameters(train_images, val_images, seed, image_size)
    with _alone(root):
        if _is_occupied(root):
            raise ValueError(f"{root} is not empty; delete it or choose another folder")
        _write(root, parameters, workers)


def _parameters(train_images: int, val_images: int, seed: int, image_size: tuple) -> dict:
    if min(train_images, val_images) < 1 or seed < 0 or min(image_size) < SMALLEST_SIDE:
        raise ValueError(
            f"can't draw {train_images} training and {val_images} validation images of size "
            f"{image_size} with seed {seed}; each split needs at least 1 image, each side at least "
            f"{SMALLEST_SIDE} pixels, and the seed must not be negative"
        )
    return {
        "version": VERSION,
        "train_images": int(train_images),
        "val_images": int(val_images),
        "seed": int(seed),
        "image_size": [int(side) for side in image_size],
    }


def _is_occupied(root: pathlib.Path) -> bool:
    return root.exists() and (not root.is_dir() or any(root.iterdir()))


def _holds_dataset(root: pathlib.Path, parameters: dict) -> bool:
    """Whether `root` holds this dataset; raises ValueError if it holds anything else."""
    if not _is_occupied(root):
        return False
    advice = "choose another folder, or delete this one to draw the dataset again"
    if not (root / PARAMETERS_FILE).is_file():
        raise ValueError(
            f"{root} is not a dataset of drawn people: it contains files but no {PARAMETERS_FILE}; "
            f"{advice}"
        )
    stored = _read_parameters(root / PARAMETERS_FILE, advice)
    if stored != parameters:
        differences = ", ".join(
            f"{key} {stored.get(key)} (expected {parameters.get(key)})"
            for key in {**parameters, **stored}
            if stored.get(key) != parameters.get(key)
        )
        raise ValueError(f"{root} holds a different drawn dataset, with {differences}; {advice}")
    return True


def _read_parameters(file: pathlib.Path, advice: str) -> dict:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is damaged: it holds a {type(content).__name__}; {advice}")
    return content


@contextlib.contextmanager
def _alone(root: pathlib.Path) -> Iterator[None]:
    """Waits until no other process draws into `root`, and keeps others waiting.

    The kernel releases the lock of a process that ends, however it ends; what such a process has
    left unfinished is removed. Where the disk has no locks, several processes may draw, and the
    first to be done gives its name to the folder.
    """
    try:
        made = [folder for folder in root.parents if not folder.exists()]
        root.parent.mkdir(parents=True, exist_ok=True)
        lock = root.with_name(DRAWING.format(root.name))
        descriptor, is_locked = _lock(lock, root)
    except OSError as error:
        raise OSError(f"can't draw people into {root}: {error}") from error
    try:
        if is_locked:
            for left in root.parent.glob(f"{glob.escape(lock.name)}-*"):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(descriptor)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing was drawn


def _lock(lock: pathlib.Path, root: pathlib.Path) -> tuple[int, bool]:
    """The descriptor of the lock file once it is ours; False where the disk has no locks."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that draws people into %s", root)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            logger.warning("the disk of %s has no file locks (%s)", root, error)
            return descriptor, False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor, True
        os.close(descriptor)  # its holder has removed it while we waited


def _write(root: pathlib.Path, parameters: dict, workers: int | None) -> None:
    try:
        _write_beside(root, parameters, workers)
    except OSError as error:
        # Without locks, another process may have written the same dataset in the meantime.
        if not _holds_dataset(root, parameters):
            raise OSError(f"can't draw people into {root}: {error}") from error


def _write_beside(root: pathlib.Path, parameters: dict, workers: int | None) -> None:
    """Draws into a folder beside `root`, which gets its name once it is complete."""
    prefix = f"{DRAWING.format(root.name)}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=root.parent) as temporary:
        folder = pathlib.Path(temporary) / "dataset"
        for name in IMAGE_FOLDERS.values():
            (folder / "images" / name).mkdir(parents=True)
        (folder / "annotations").mkdir()
        people = _draw_all(folder, parameters, workers or os.cpu_count() or 1)
        for split in IMAGE_FOLDERS:
            drawn = [people[split, index] for index in range(parameters[f"{split}_images"])]
            _write_coco(folder, split, drawn, parameters["image_size"])
            _write_mpii(folder, split, [person for image in drawn for person in image])
        _write_json(folder / PARAMETERS_FILE, parameters)
        folder.rename(root)


def _draw_all(folder: pathlib.Path, parameters: dict, workers: int) -> dict[tuple, list[dict]]:
    """Writes all images; returns the annotations of the people in each (split, index)."""
    total = parameters["train_images"] + parameters["val_images"]
    workers = min(workers, total)
    jobs = [
        {"folder": str(folder), "worker": worker, "workers": workers, **parameters}
        for worker in range(workers)
    ]
    drawn = _draw_share(**jobs[0]) if workers == 1 else _draw_in_processes(jobs)
    shown = progress.over(drawn, "drawing people", units="images", total=total)
    return {(split, index): people for split, index, people in shown}


def _draw_in_processes(jobs: list[dict]) -> Iterator[tuple]:
    """Runs `_draw_share` for each job in its own process, and yields what they yield."""
    paths = os.pathsep.join(path for path in sys.path if path)
    with contextlib.ExitStack() as stack:
        processes = []
        for job in jobs:
            process = subprocess.Popen(
                [sys.executable, "-c", _WORKER_CODE, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},
                text=True,
            )
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        # The shares are equal, so reading a line from each in turn never blocks one for long.
        for lines in itertools.zip_longest(*(process.stdout for process in processes)):
            for process, line in zip(processes, lines, strict=True):
                if line is None:
                    _check_status(process)
                else:
                    yield json.loads(line)
        for process in processes:
            _check_status(process)


def _check_status(process: subprocess.Popen) -> None:
    status = process.wait()
    if status:
        raise OSError(
            f"a worker that draws people exited with status {status}; its own message is above"
        )


def _run_worker() -> None:
    """Runs one job of `_draw_in_processes`; if the parent has died, exits at the next image."""
    cv2.setNumThreads(1)
    for drawn in _draw_share(**json.loads(sys.argv[1])):
        print(json.dumps(drawn), flush=True)


def _draw_share(
    *, folder: str, worker: int, workers: int, seed: int, image_size: list[int], **counts: int
) -> Iterator[tuple]:
    """Draws every `workers`-th image; yields (split, index, annotations of its people)."""
    for number, (split, name) in enumerate(IMAGE_FOLDERS.items()):
        for index in range(worker, counts[f"{split}_images"], workers):
            rng = np.random.default_rng([seed, number, index])
            image, people = draw_scene(rng, tuple(image_size))
            quality = int(rng.integers(85, 96))
            _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            file = f"{name}/{_file_name(index)}"
            pathlib.Path(folder, "images", file).write_bytes(data)
            yield split, index, [_annotations(person, file) for person in people]


def _file_name(index: int) -> str:
    return f"{index + 1:012d}.jpg"


def _annotations(person: Person, file: str) -> dict:
    """A person's entries in the files of both layouts; MPII counts pixels from 1."""
    inside = person.mpii_inside[:, None]
    flags = person.coco_flags[:, None]
    keypoints = np.where(flags > 0, person.coco.round(2), 0).tolist()
    (top, bottom), (left, right) = (
        np.flatnonzero(person.mask.any(axis))[[0, -1]] for axis in (1, 0)
    )
    outlines, _ = cv2.findContours(
        person.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return {
        "mpii": {
            "joints_vis": person.mpii_inside.astype(int).tolist(),
            "joints": np.where(inside, person.mpii.round(4) + 1, -1).tolist(),
            "image": file,
            "scale": round(person.scale, 6),
            "center": (person.center.round(2) + 1).tolist(),
        },
        "head_box": (person.head_box.round(4) + 1).tolist(),
        "coco": {
            "segmentation": [outline.ravel().tolist() for outline in outlines if len(outline) > 2],
            "num_keypoints": int((flags > 0).sum()),
            "area": int(person.mask.sum()),
            "iscrowd": 0,
            "keypoints": [
                value
                for (x, y), flag in zip(keypoints, person.coco_flags.tolist(), strict=True)
                for value in (x, y, flag)
            ],
            "bbox": [int(v) for v in (left, top, right - left + 1, bottom - top + 1)],
            "category_id": 1,
        },
    }


def _write_coco(folder: pathlib.Path, split: str, drawn: list, image_size: list[int]) -> None:
    people = [(index, person["coco"]) for index, image in enumerate(drawn) for person in image]
    height, width = image_size
    content = {
        "info": {"description": "Drawn people"},
        "licenses": [],
        "images": [
            {"id": index + 1, "file_name": _file_name(index), "height": height, "width": width}
            for index in range(len(drawn))
        ],
        # pycocotools treats a match with annotation id 0 as no match.
        "annotations": [
            {**person, "image_id": index + 1, "id": number}
            for number, (index, person) in enumerate(people, start=1)
        ],
        "categories": [
            {
                "supercategory": "person",
                "id": 1,
                "name": "person",
                "keypoints": list(COCO.names),
                "skeleton": [[a + 1, b + 1] for a, b in COCO.limbs],
            }
        ],
    }
    _write_json(folder / f"annotations/person_keypoints_{IMAGE_FOLDERS[split]}.json", content)


def _write_mpii(folder: pathlib.Path, split: str, people: list[dict]) -> None:
    entries = [person["mpii"] for person in people]
    _write_json(folder / f"annotations/mpii_{split}.json", entries)
    if split == "train":
        return
    present = np.array([entry["joints_vis"] for entry in entries]).reshape(-1, 16)
    joints = np.array([entry["joints"] for entry in entries]).reshape(-1, 16, 2)
    boxes = np.array([person["head_box"] for person in people]).reshape(-1, 2, 2)
    content = {
        "dataset_joints": np.array([MAT_JOINTS], dtype=object),
        "jnt_missing": (1 - present.T).astype(np.uint8),  # (16, n)
        "pos_gt_src": (joints * present[..., None]).transpose(1, 2, 0),  # (16, 2, n)
        "headboxes_src": boxes.transpose(1, 2, 0),  # (corner, xy, n)
    }
    file = io.BytesIO()
    scipy.io.savemat(file, content)
    # The first 116 bytes are a text header, into which SciPy writes the date.
    header = b"MATLAB 5.0 MAT-file, drawn people".ljust(116)
    (folder / "annotations/mpii_gt_val.mat").write_bytes(header + file.getvalue()[116:])


def _write_json(path: pathlib.Path, content: dict | list) -> None:
    path.write_text(json.dumps(content) + "\n")
