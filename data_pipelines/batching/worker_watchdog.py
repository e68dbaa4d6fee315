"""Waiting for batches with a time limit: workers that died or hang are restarted."""

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

PATIENCE = 45.0  # seconds without a batch after which workers count as dead
ATTEMPTS = 3
WORKER = "grain-process-prefetch"  # how the names of grain's worker processes begin
DIED = "Worker process was terminated"  # how grain's error begins


def take(read: Callable[[], dict], number: int, *, patience: float = PATIENCE) -> dict:
    """Batch `number`, which `read` returns; tries again with new workers when they fail.

    Errors of `read` itself are passed on. Raises OSError when the workers died or hung three times,
    and when reading hangs without workers, as on a network disk that has gone away.
    """
    for _ in range(ATTEMPTS):
        answer = queue.SimpleQueue()
        reader = threading.Thread(target=_answer, args=(read, answer), daemon=True)
        reader.start()
        try:
            batch, error = answer.get(timeout=patience)
        except queue.Empty:
            problem = f"no data after waiting {patience:.0f} seconds for batch {number}"
            if not _end_workers():
                raise OSError(
                    f"{problem}: the disk or the network with the data hangs. Repair it and run "
                    "the same command again; it continues from the last checkpoint"
                ) from None
            reader.join(patience)  # it notices that its workers are gone, and closes
        else:
            if error is None:
                return batch
            if not str(error).startswith(DIED):
                raise error
            problem = f"a worker that reads the data died ({error}) before batch {number}"
        logger.warning("%s; restarting the workers", problem)
    raise OSError(
        f"{problem}, {ATTEMPTS} times in a row. Is there enough memory for config.data.workers "
        "processes? With 0 the main process reads the data"
    )


def begin_worker(number: int, count: int) -> None:
    """Runs first in each worker: it ends when the process that started it is gone.

    Ctrl-C in a terminal reaches all processes; the main one decides when its workers end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()


def _end_with_parent():
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(read, answer):
    try:
        answer.put((read(), None))
    except BaseException as error:
        answer.put((None, error))


def _end_workers():
    """Kills the workers; returns whether there were any."""
    workers = [child for child in multiprocessing.active_children() if _is_worker(child)]
    for worker in workers:
        worker.kill()
    return bool(workers)


def _is_worker(process):
    return process.name.startswith(WORKER)
