"""Changed files of weights are read or refused: no crash, no hang, no memory beyond the budget.

HRJAX_FUZZ_SECONDS says how long; the long runs take a minute.
"""

import os
import pathlib
import pickle
import random
import select
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.hrjax.weights import fuzz_mutations, seed_weights

SECONDS = float(os.environ.get("HRJAX_FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("HRJAX_FUZZ_SEED", "0"))
MOST_SECONDS = 10  # for one file; they have a few kilobytes
HERE = pathlib.Path(__file__).parent


def start_worker():
    worker = subprocess.Popen(
        [sys.executable, HERE / "fuzz_worker.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdout.readline() == "ready\n"
    return worker


def answer_of(worker, path):
    """The worker's answer for a file, or how it ended."""
    worker.stdin.write(f"{path}\n")
    worker.stdin.flush()
    ready, _, _ = select.select([worker.stdout], [], [], MOST_SECONDS)
    answer = worker.stdout.readline().strip() if ready else "more than 10 seconds"
    if not ready or not answer:
        worker.kill()
        answer = answer or f"ended with status {worker.wait()}"
    return answer


def stop(worker):
    worker.kill()
    worker.communicate()


def test_the_seeds_are_read_and_small(golden, tmp_path):
    seeds = seed_weights.seeds(golden)
    assert sum(map(len, seeds.values())) < 200_000
    worker = start_worker()
    for name, data in seeds.items():
        (tmp_path / name).write_bytes(data)
    answers = {name: answer_of(worker, tmp_path / name) for name in seeds}
    stop(worker)
    assert answers == dict.fromkeys(seeds, "read")


MEGABYTES = 2**20
LARGE = {
    "lists.pdparams": b"\x80\x02" + b"]" * (20 * MEGABYTES),
    "sets.pdparams": b"\x80\x02" + b"\x8f" * (20 * MEGABYTES),
    "dicts.pdparams": b"\x80\x02" + b"}NNs" * (5 * MEGABYTES),
    "memo.pdparams": b"\x80\x02" + b"]\x94" * (10 * MEGABYTES),
    "wide.pdparams": seed_weights.pickled(seed_weights.text("x" * (40 * MEGABYTES) + "😀")),
    "names.pdparams": seed_weights.pickled((seed_weights.text("x" * 10**6 + "😀") + b"0") * 40),
    "line.pdparams": b"\x80\x02V" + b"x" * (40 * MEGABYTES) + b"\\U0001F600\n.",
    "bytes.pdparams": pickle.dumps({"a": np.zeros(10 * MEGABYTES, np.float32)}, 2),
    "zeros.npz": seed_weights.npz({"a": np.zeros(30 * MEGABYTES, np.float32)}, np.savez_compressed),
    "whole.npz": seed_weights.npz({"a": np.zeros(10 * MEGABYTES, np.float32)}),
    "header.safetensors": (16 * MEGABYTES).to_bytes(8, "little") + b"[" * (16 * MEGABYTES),
}
READ = ("bytes.pdparams", "zeros.npz", "whole.npz")


def test_large_files_stay_within_their_memory(tmp_path):
    worker, answers = start_worker(), {}
    for name, data in LARGE.items():
        (tmp_path / name).write_bytes(data)
        answers[name] = answer_of(worker, tmp_path / name)
    stop(worker)
    assert answers == {name: "read" if name in READ else "refused" for name in LARGE}


@pytest.mark.long
def test_changed_files_are_read_or_refused(golden, tmp_path):
    seeds = seed_weights.seeds(golden)
    worker, findings, counts = start_worker(), {}, {"read": 0, "refused": 0}
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end and len(findings) < 20:
        number += 1
        chance = random.Random(f"{SEED}.{number}")
        name = chance.choice(list(seeds))
        data = fuzz_mutations.mutate(chance, name, seeds[name])
        path = tmp_path / name
        path.write_bytes(data)
        answer = answer_of(worker, path)
        if answer in counts:
            counts[answer] += 1
            continue
        findings[number] = name, answer
        kept = tmp_path / f"finding_{SEED}_{number}_{name}"
        path.rename(kept)
        if worker.poll() is not None:
            worker.communicate()
            worker = start_worker()
    stop(worker)
    print(f"{number} files in {SECONDS:.0f} s: {counts}")
    assert not findings, f"see {tmp_path}: {findings}"
    assert min(counts.values()) > 0
