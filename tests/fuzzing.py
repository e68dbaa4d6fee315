"""Feeds damaged inputs to a function in a process of its own, and reports what it does to them.

A target is a function of one argument, bytes, in a module of tests; it may raise ValueError or
OSError with the name of the file in the message. Everything else is a finding: other exceptions,
messages without the name, a process that dies, hangs, or takes too much memory.
"""

import copy
import dataclasses
import importlib.util
import json
import os
import pathlib
import random
import select
import struct
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

ROOT = pathlib.Path(__file__).parent.parent
SECONDS = float(os.environ.get("HRJAX_FUZZ_SECONDS", "45"))
NAME = "fuzzed"  # what the names of all files that targets write begin with
BYTES = (0, 1, 2, 9, 32, 34, 44, 48, 91, 93, 123, 125, 127, 128, 254, 255)
WORDS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
DEEP = "[" * 5000 + "]" * 5000
# JSON that no program writes for a field, as text: msgspec and json read all but the last few.
VALUES = (
    *("null", "true", "false", "0", "1", "-1", "0.5", "1e308", "1e-320", "1e999", "-1e999", "NaN"),
    *("Infinity", "-Infinity", "99999999999999999999", "-9223372036854775809", "1" * 400),
    *(
        '""',
        '"a"',
        '".."',
        '"../../a.jpg"',
        '"/etc/passwd"',
        '"a\\u0000b"',
        '"\\ud800"',
        '"\\udcff"',
    ),
    *(f'"{"x" * 300}"', "[]", "{}", "[[]]", "[null]", '{"id": 1}', "[1, 2, 3, 4]", DEEP),
    *("tru", "'a'", "1,", "\\", "\x00", "0x10", "+1", "01", "--1"),
)


@dataclasses.dataclass
class Report:
    """What became of the inputs, and the findings, each with the input that led to it."""

    outcomes: Counter
    findings: list[tuple[str, bytes]]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        return f"{sum(self.outcomes.values())} inputs: {counts}; {len(self.findings)} findings"


def fuzz(
    target: str,
    seeds: Sequence[bytes],
    mutate: Callable[[random.Random, Sequence[bytes]], bytes],
    *,
    megabytes: int,
    timeout: float = 20.0,
    seconds: float = SECONDS,
    seed: int = 0,
) -> Report:
    """Gives mutated seeds to `target`, "a/file.py:function", until `seconds` are over.

    Each input may take `timeout` seconds and make the process grow by `megabytes`. Every seed is
    given first as it is.
    """
    rng, report = random.Random(seed), Report(Counter(), [])
    worker, pending = Worker(target, megabytes), list(seeds)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end or pending:
            data = pending.pop() if pending else mutate(rng, seeds)
            outcome, detail = worker.run(data, timeout)
            report.outcomes[outcome] += 1
            if outcome not in ("read", "message"):
                report.findings.append((f"{outcome}: {detail}", data))
                worker.close()
                worker = Worker(target, megabytes)
            if len(report.findings) >= 20:
                break
    finally:
        worker.close()
    return report


def require_none(report: Report, folder: pathlib.Path) -> None:
    """Fails with the first findings, whose inputs are kept in `folder`."""
    print(report)
    for number, (_, data) in enumerate(report.findings):
        (folder / f"finding_{number}").write_bytes(data)
    texts = [text for text, _ in report.findings[:5]]
    assert not texts, f"{report}; inputs in {folder}:\n" + "\n".join(texts)


def bytewise(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A seed with some bytes changed, cut, doubled, or taken from another seed."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        place = rng.randrange(max(1, min(len(data), rng.choice((64, 1024, len(data))))))
        _change(rng, data, place, seeds)
    return bytes(data)


def _change(rng, data, place, seeds):
    kind = rng.randrange(7)
    if kind == 0 and data:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[place : place + 1] = bytes([rng.choice(BYTES)])
    elif kind == 2:
        form = rng.choice(("<H", ">H", "<I", ">I"))
        word = struct.pack(form, rng.choice(WORDS) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
        data[place : place + len(word)] = word
    elif kind == 3:
        del data[place : place + rng.choice((1, 2, 4, 16, len(data)))]
    elif kind == 4:
        data[place:place] = data[place : place + rng.choice((1, 4, 16, 256))]
    elif kind == 5:
        other = rng.choice(seeds)
        start = rng.randrange(max(1, len(other)))
        data[place : place + 32] = other[start : start + rng.choice((4, 32, 256))]
    else:
        data[place:place] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 16))))


def jsonwise(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A seed, which is JSON, with some of its values replaced; now and then some bytes, too."""
    if rng.random() < 0.2:
        return bytewise(rng, seeds)
    tree, texts = json.loads(rng.choice(seeds)), {}
    for number in range(rng.choice((1, 1, 1, 2, 4))):
        tree = _replace(rng, tree, f"@{number}@")
        texts[f'"@{number}@"'] = rng.choice(VALUES)
    text = json.dumps(tree)
    for mark, value in texts.items():
        text = text.replace(mark, value)
    return text.encode(errors="surrogatepass")


def _replace(rng, tree, mark):
    """The tree with a value somewhere in it replaced by a mark, removed, or doubled."""
    node = tree
    while isinstance(node, list | dict) and node:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if isinstance(node[key], list | dict) and node[key] and rng.random() < 0.85:
            node = node[key]
            continue
        if rng.random() < 0.1:
            del node[key]
        elif rng.random() < 0.05 and isinstance(node, list):
            node.append(node[key])
        else:
            node[key] = mark
        return tree
    return mark


FIELD_VALUES = (
    *("null", "true", "0", "5", "-3", "1.5", "1e308", "1e999", "NaN", "-Infinity", "1" * 30),
    *('""', '"text"', '"a\\u0000b"', '"../../a.jpg"', '"/etc/passwd"', '"\\ud800"', '"\\udcff"'),
    *(f'"{"x" * 300}"', "[]", "[1]", "[null]", "[[]]", "{}", '{"a": 1}', DEEP, ""),
)


def field_cases(tree: list | dict) -> Iterator[tuple[str, str]]:
    """Each place in a JSON tree with each of FIELD_VALUES, as text; "" stands for no such field.

    Of lists only the first two entries change.
    """
    for path in _places(tree, ()):
        for value in FIELD_VALUES:
            if value or path:
                yield f"{list(path)} as {value[:40]}", _with(tree, path, value)


def _places(tree, path):
    yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from _places(tree[key], (*path, key))
    if isinstance(tree, list):
        for key in range(min(2, len(tree))):
            yield from _places(tree[key], (*path, key))


def _with(tree, path, value):
    tree = copy.deepcopy(tree)
    holder = {"tree": tree}
    node, (*inner, last) = holder, ("tree", *path)
    for key in inner:
        node = node[key]
    if value:
        node[last] = "@"
    else:
        del node[last]
    return json.dumps(holder.get("tree")).replace('"@"', value)


def require_read_or_named(
    read: Callable[[], object], file: pathlib.Path, tree: list | dict
) -> Counter:
    """Fails unless every case of a file is read or is one message that names the file."""
    outcomes, wrong = Counter(), []
    for case, text in field_cases(tree):
        file.write_text(text)
        try:
            read()
            outcomes["read"] += 1
        except ValueError as error:
            outcomes["message"] += 1
            if file.name not in str(error) or "\n" in str(error):
                wrong.append(f"{case}: {error}")
        except Exception as error:
            wrong.append(f"{case}: {error!r}")
    assert not wrong, f"{len(wrong)} of {sum(outcomes.values())} cases:\n" + "\n".join(wrong[:20])
    return outcomes


class Worker:
    """A process that calls the target; `run` gives the outcome of one input and details."""

    def __init__(self, target: str, megabytes: int):
        paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, target, str(megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=ROOT,
        )
        assert self._answer(120) == ["ready", ""], f"{target} can't be imported"

    def run(self, data: bytes, timeout: float) -> tuple[str, str]:
        try:
            self._process.stdin.write(struct.pack("<I", len(data)) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            return "died", f"with {self._process.wait()}"
        answer = self._answer(timeout)
        if answer is None:
            return "hung", f"for {timeout} seconds"
        return tuple(answer) if answer else ("died", f"with {self._process.wait()}")

    def _answer(self, timeout):
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not ready:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else []

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _serve(target: str, megabytes: int) -> None:
    """The worker's loop: reads inputs, answers in lines of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the target prints
    file, name = target.rsplit(":", 1)
    spec = importlib.util.spec_from_file_location("target", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name)
    _answer_with(answers, "ready", "")
    while header := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", header)[0])
        before = _peak()
        outcome, detail = _call(function, data)
        grown = _peak() - before
        if grown > megabytes:
            outcome, detail = "memory", f"{grown:.0f} MB for {len(data)} bytes ({detail})"
        _answer_with(answers, outcome, detail)


def _answer_with(answers, outcome, detail):
    answers.write(json.dumps([outcome, detail[:2000]]) + "\n")
    answers.flush()


def _call(function, data):
    try:
        function(data)
    except (ValueError, OSError) as error:
        named = NAME in str(error)
        return ("message", "") if named else ("unnamed", traceback.format_exc(limit=-3))
    except BaseException:
        return "exception", traceback.format_exc(limit=-4)
    return "read", ""


def _peak():
    """The most memory, in MB, that the process had since the last call, or has now."""
    status = pathlib.Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return peak / 1024


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
