"""Batches of training and evaluation, read by grain.

The global batch of step t is a function of the split, the seed and t alone. Reading processes and
worker processes only share the work: process p of P takes the p-th of P equal slices of every
batch, and workers take turns at whole batches.
"""

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Sequence

import grain
import numpy as np
from absl import flags

from data_pipelines.batching import mixture, shuffle_by_image, worker_limits, worker_watchdog
from data_pipelines.batching.mixture import Mixture
from data_pipelines.splits import Split

logger = logging.getLogger(__name__)

# Threads that read ahead, a whole batch each. OpenCV decodes and warps outside of Python's lock, so
# they share the work of one process; worker processes have one each.
READ_THREADS = min(8, os.cpu_count() or 1)
# What only the ops need; the rest of an example is stacked into the batch.
NOT_BATCHED = ("image_path", "image_size", "encoded", "center", "size")
ENDLESS = 2**32  # epochs


def steps_per_epoch(split: Split | Mixture, batch_size: int) -> int:
    """Training batches in one epoch: the last partial one is dropped, but there is always one."""
    if isinstance(split, Mixture):
        return mixture.steps_per_epoch(split, batch_size)
    return max(1, len(split) // batch_size)


class Batches:
    """An iterator over batches whose position can be saved and restored, by any process count.

    The state is the number of global batches taken so far. `close` ends threads and workers; so
    does leaving a `with` block or the end of the batches. `patience` is how many seconds a batch
    may take before the workers are restarted (`worker_watchdog.take`). Where the machine cannot run
    them, as without shared memory, threads read the same batches, and a warning says why.
    """

    def __init__(
        self,
        batches: grain.MapDataset,
        *,
        workers: int,
        start: int = 0,
        patience: float = worker_watchdog.PATIENCE,
    ):
        self._batches = batches
        self._workers = workers
        self._patience = patience
        self._next = start
        self._iterator = None

    def __iter__(self) -> "Batches":
        return self

    def __len__(self) -> int:
        """All batches from the first to the last, read or not."""
        return len(self._batches)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """The batch of one step, read by the calling thread."""
        return self._batches[step]

    def __next__(self) -> dict[str, np.ndarray]:
        if self._next >= len(self._batches):
            self.close()
            raise StopIteration
        batch = worker_watchdog.take(self._read, self._next, patience=self._patience)
        self._next += 1
        return batch

    def _read(self) -> dict[str, np.ndarray]:
        try:
            if self._iterator is None:
                self._iterator = self._open()
            return next(self._iterator)
        except BaseException as error:
            # The position stays at the batch that failed. Workers that could not start may not end
            # properly either; what counts is why they did not start.
            with contextlib.suppress(Exception):
                self.close()
            reason = self._workers and worker_limits.reason(error)
            if not reason:
                raise
        logger.warning("%s. Reading in threads of this process instead", reason)
        self._workers = 0
        return self._read()

    def _open(self) -> grain.DatasetIterator:
        # grain's workers read absl flags, which a program without absl.app never parses.
        if self._workers and not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        # A slice as the start keeps the state independent of the number of workers; grain's own
        # state depends on it.
        threads = 1 if self._workers else READ_THREADS
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
        ahead = self._batches[self._next :].to_iter_dataset(options)
        processes = grain.MultiprocessingOptions(num_workers=self._workers)
        return iter(ahead.mp_prefetch(processes, worker_init_fn=worker_watchdog.begin_worker))

    def get_state(self) -> dict[str, int]:
        """The position, as numbers that JSON can hold."""
        return {"next_batch": self._next}

    def set_state(self, state: dict[str, int]) -> None:
        """Moves to a position from `get_state`, of this run or of another with the same seed."""
        self.close()
        self._next = int(state["next_batch"])

    def close(self) -> None:
        """Ends the threads and workers; the next batch starts new ones."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def train_batches(
    split: Split | Mixture,
    example_ops: Sequence[Callable],
    *,
    batch_size: int,
    seed: int,
    epochs: int | None = None,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    group_images: bool = False,
) -> Batches:
    """Training batches of a split, reshuffled every epoch; endless if `epochs` is None.

    `batch_size` counts all processes. An epoch drops its last partial batch; a split smaller than
    one batch is repeated within the epoch until it fills one. `start` is the first batch to take.
    With `group_images` the people of an image follow one another, so that it is decoded once.
    """
    share = _share(batch_size, process_count)
    length = steps_per_epoch(split, batch_size) * batch_size
    if isinstance(split, Mixture):
        if group_images:
            raise ValueError(
                "config.data.group_images works with one dataset, not with config.data.mix"
            )
        # Each dataset repeats on its own schedule, so the mixture has no epochs.
        length, epochs = length * (epochs or ENDLESS), 1
        rows = grain.MapDataset.range(length).seed(seed)
        people = rows.map(functools.partial(_mixed_person, split, batch_size, seed))
    else:
        people = _shuffled(split, batch_size, seed, group_images)
    people = people.random_map(_Chain(tuple(example_ops)))[:length]
    own = people.batch(share, drop_remainder=True)[process_index::process_count]
    return Batches(own.repeat(epochs), workers=workers, start=start)


def eval_batches(
    split: Split,
    example_ops: Sequence[Callable],
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
) -> Batches:
    """All people of a split once and in order; the last batch is padded, as its `mask` says.

    `batch_size` counts all processes, which get the same number of batches. Padding repeats the
    last person.
    """
    share = _share(batch_size, process_count)
    count = -(-len(split) // batch_size) * batch_size
    people = grain.MapDataset.range(count).map(functools.partial(_row_or_padding, split))
    people = people.seed(0).random_map(_Chain(tuple(example_ops)))
    own = people.batch(share, drop_remainder=True)[process_index::process_count]
    return Batches(own, workers=workers)


def _shuffled(split: Split, batch_size: int, seed: int, group_images: bool) -> grain.MapDataset:
    people = grain.MapDataset.source(split).seed(seed)
    if len(split) < batch_size:
        times = -(-batch_size // len(split))
        logger.info("%d people for batches of %d: repeated %dx", len(split), batch_size, times)
        people = people.repeat(times)
    if not group_images:
        return people.shuffle()
    _, images = np.unique(split.columns["image_path"], return_inverse=True)
    return shuffle_by_image.ShuffledImages(people, np.resize(images, len(people)), seed)


def _mixed_person(split: Mixture, batch_size: int, seed: int, place: int) -> dict:
    return split[mixture.row(split, batch_size, seed, place)]


def _row_or_padding(split: Split, row: int) -> dict:
    last = len(split) - 1
    return {**split[min(row, last)], "mask": np.bool_(row <= last)}


@dataclasses.dataclass(frozen=True)
class _Chain:
    """All ops in order with one generator; keeps only the keys that go into the batch."""

    ops: tuple[Callable, ...]

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        example = {"mask": np.True_, **example}
        for op in self.ops:
            example = op(example, rng)
        return {key: value for key, value in example.items() if key not in NOT_BATCHED}


def _share(batch_size: int, process_count: int) -> int:
    """How many people of each batch one process reads."""
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"a batch of {batch_size} can't be shared by {process_count} processes; use a positive "
            f"multiple of {process_count}"
        )
    return batch_size // process_count
