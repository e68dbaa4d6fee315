"""metrics.jsonl and TensorBoard."""

import resource
import signal

import numpy as np
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from hrjax.training.logs import run_log


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


def test_damaged_lines_are_skipped_with_a_word_and_stay_in_the_file(tmp_path, caplog):
    write(tmp_path, start=0, total=2)
    odd = ["garbage", "[]", "5", '{"step": "two"}', '{"loss": 1}', "[" * 100_000, "\udcff"]
    with (tmp_path / "metrics.jsonl").open("a", errors="surrogateescape") as file:
        file.write("\n".join(odd) + "\n")
    write(tmp_path, start=2, total=4)
    assert [row["step"] for row in run_log.read(tmp_path)] == [2, 4]
    assert "metrics.jsonl: 7 damaged lines are skipped (2, 3, 4, 5, 6, …)" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_bytes().count(b"\n") == 9


def test_a_last_line_that_was_cut_short_is_dropped_with_a_word(tmp_path, caplog):
    write(tmp_path, start=0, total=4)
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    write(tmp_path, start=4, total=6)
    assert "the last line was cut short by a kill and is dropped" in caplog.text
    assert [row["step"] for row in run_log.read(tmp_path)] == [2, 6]
    file.write_bytes(file.read_bytes()[:-1])  # all but the end of the line
    write(tmp_path, start=6, total=8)
    assert [row["step"] for row in run_log.read(tmp_path)] == [2, 6, 8]


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = run_log.RunLog(tmp_path, start=0, total=30, every_steps=1)
    try:
        # A limit on the size of files stands in for a disk that fills up.
        log.write(1, {"loss": 1.0})
        resource.setrlimit(resource.RLIMIT_FSIZE, (120, before[1]))
        for step in range(2, 30):
            log.write(step, {"loss": 1.0}, {"people": np.zeros((4, 6, 3), np.uint8)})
        stopped = (tmp_path / "metrics.jsonl").read_bytes()
        assert stopped.endswith(b"}\n")
        assert len(run_log.read(tmp_path)) < 10
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    log.write(30, {"loss": 1.0})
    log.close()
    assert [row["step"] for row in run_log.read(tmp_path)] == list(range(1, 31))
    assert "its lines wait" in caplog.text
    assert "can be written again; no line is lost" in caplog.text
    assert "nothing more is written for TensorBoard" in caplog.text


def test_folders_that_cannot_be_made_do_not_end_the_run(tmp_path, caplog):
    (tmp_path / "tensorboard").write_text("")
    write(tmp_path, start=0, total=2)
    assert [row["step"] for row in run_log.read(tmp_path)] == [2]
    assert "nothing more is written for TensorBoard" in caplog.text
