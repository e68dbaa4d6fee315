"""metrics.jsonl and TensorBoard."""

import numpy as np
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from hrjax.training import run_log


def write(workdir, *, start, total, every_steps=2):
    log = run_log.RunLog(workdir, start=start, total=total, every_steps=every_steps)
    for step in range(start + 1, total + 1):
        log.add(step, step / 2, {"loss": float(step), "pck": 0.5, "lr": 1e-3}, images=4, waited=0.0)
    log.close()


def events(workdir):
    """The events in the run's TensorBoard files, after verifying their checksums."""
    parsed = []
    for file in sorted((workdir / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            body, checksum = data[12 : 12 + length], data[12 + length : 16 + length]
            assert int.from_bytes(checksum, "little") == masked_crc32c(body)
            parsed.append(Event.FromString(body))
            data = data[16 + length :]
    return parsed


def test_lines_hold_means_over_the_logging_interval(tmp_path):
    write(tmp_path, start=0, total=4)
    assert [(row["step"], row["loss"]) for row in run_log.read(tmp_path)] == [(2, 1.5), (4, 3.5)]


def test_lines_after_the_checkpoint_are_dropped_when_a_run_continues(tmp_path):
    write(tmp_path, start=0, total=6)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    write(tmp_path, start=4, total=8)
    assert [row["step"] for row in run_log.read(tmp_path)] == [2, 4, 6, 8]


def test_tensorboard_gets_numbers_and_images(tmp_path):
    log = run_log.RunLog(tmp_path, start=0, total=1, every_steps=1)
    log.write(3, {"eval/PCKh@0.5": 50.0}, {"people": np.zeros((4, 6, 3), np.uint8)})
    log.close()
    values = {v.tag: v for event in events(tmp_path) for v in event.summary.value}
    assert values["eval/PCKh_0.5"].simple_value == 50.0
    assert (values["people"].image.height, values["people"].image.width) == (4, 6)
