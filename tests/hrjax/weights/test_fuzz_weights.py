"""Changed files of weights are read or refused: no crash, no hang, no memory beyond the budget.

HRJAX_FUZZ_SECONDS says how long; the long runs take a minute.
"""

import os
import pathlib
import random
import select
import subprocess
import sys
import time

import pytest

from tests.hrjax.weights import fuzz_mutations, seed_weights

SECONDS = float(os.environ.get("HRJAX_FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("HRJAX_FUZZ_SEED", "0"))
MOST_SECONDS = 10  # for one file; they have a few kilobytes
HERE = pathlib.Path(__file__).parent


def start_worker():
    return subprocess.Popen(
        [sys.executable, HERE / "fuzz_worker.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


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
    answer_of(worker, tmp_path / "zip.pth")  # its first answer waits for imports
    answers = {name: answer_of(worker, tmp_path / name) for name in seeds}
    stop(worker)
    assert answers == dict.fromkeys(seeds, "read")


@pytest.mark.long
def test_changed_files_are_read_or_refused(golden, tmp_path):
    seeds = seed_weights.seeds(golden)
    worker, findings, counts = start_worker(), {}, {"read": 0, "refused": 0}
    (tmp_path / "first.pth").write_bytes(seeds["zip.pth"])
    worker.stdin.write(f"{tmp_path / 'first.pth'}\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "read\n"
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
