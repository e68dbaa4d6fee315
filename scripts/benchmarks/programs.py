"""Reads an optimized program of XLA: kernels, what they move and compute, and a bound on time.

A program is the text of a compiled function (`compiled.as_text()`). Each instruction of its entry
computation is a kernel, except for those that only name memory.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator

import numpy as np

from benchmarks.targets import Target

LAUNCH = 1.5e-6  # seconds that a kernel takes at least, also in a CUDA graph
NAMES_ONLY = {
    *("parameter", "constant", "bitcast", "get-tuple-element", "tuple", "partition-id"),
    *("after-all", "opt-barrier", "domain"),
}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# What a kernel may do that moves the values of its operands and computes nothing.
MOVES = {"transpose", "copy", "reshape", "slice", "concatenate", "pad"}
SIZES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
SIZES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "token": 0}

_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_ARRAY = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\]")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation; `line` is what follows the opening parenthesis."""

    name: str
    shape: str
    opcode: str
    line: str

    @functools.cached_property
    def operands(self) -> list[str]:
        """The names of its operands."""
        return re.findall(r"%([\w.\-]+)", self.line.partition(")")[0])

    @property
    def size(self) -> float:
        """The bytes of its result."""
        arrays = _ARRAY.findall(self.shape)
        return sum(SIZES.get(dtype, 4) * _count(dims) for dtype, dims in arrays)

    @property
    def dims(self) -> list[int]:
        """The dimensions of its result, or of the first array in it."""
        return [int(n) for n in _ARRAY.search(self.shape)[2].split(",") if n]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel: its kind, bytes read and written, operations, and whether it only moves weights."""

    kind: str
    bytes: float
    operations: float
    moves_weights: bool

    def seconds(self, target: Target) -> float:
        """The least that it takes on a target."""
        return max(self.bytes / target.bandwidth, self.operations / target.arithmetic, LAUNCH)


def kernels(text: str) -> list[Kernel]:
    """The kernels of a program, in the order in which they run."""
    computations, entry = _parse(text)
    return [
        kernel
        for name in _scheduled(computations, entry)
        for kernel in _of_computation(computations, computations[name])
    ]


def summarize(found: list[Kernel], target: Target) -> dict:
    """Counts, bytes and operations of a program's kernels, and a bound on its time.

    The bound is no time: kernels take longer than their memory traffic, arithmetic or launch.
    """
    kinds = collections.Counter(kernel.kind for kernel in found)
    together = [kernel for kernel in found if kernel.kind.startswith(COLLECTIVES)]
    return {
        "kernels": len(found),
        "parameter_moves": sum(kernel.moves_weights for kernel in found),
        "collectives": len(together),
        "collective_mib": sum(kernel.bytes for kernel in together) / 2 / 2**20,
        "gib_moved": sum(kernel.bytes for kernel in found) / 2**30,
        "gflop": sum(kernel.operations for kernel in found) / 1e9,
        "bound_ms": 1000 * sum(kernel.seconds(target) for kernel in found),
        "kinds": dict(kinds.most_common()),
    }


def _count(dims):
    return math.prod(int(n) for n in dims.split(",") if n)


def _parse(text) -> tuple[dict[str, dict[str, Instruction]], str]:
    """The instructions of each computation by name, and the name of the entry."""
    computations, entry, inside = {}, "", None
    for line in text.splitlines():
        if opening := _COMPUTATION.match(line):
            inside = computations[opening[2]] = {}
            entry = opening[2] if opening[1] else entry
        elif line.startswith("}"):
            inside = None
        elif inside is not None and (found := _INSTRUCTION.match(line)):
            inside[found[2]] = Instruction(found[2], found[3], found[4], found[5])
    return computations, entry


def _scheduled(computations, entry) -> Iterator[str]:
    """The entry, and the bodies of its loops and calls, each once."""
    yield entry
    for instruction in computations[entry].values():
        if instruction.opcode in ("while", "call", "conditional"):
            for name in re.findall(r"(?:body|to_apply|calls)=%?([\w.\-]+)", instruction.line):
                yield from _scheduled(computations, name)


def _of_computation(computations, instructions) -> Iterator[Kernel]:
    weights = _weights(computations, instructions)
    for instruction in instructions.values():
        opcode = instruction.opcode
        if opcode in (*NAMES_ONLY, "while", "call", "conditional") or opcode.endswith("-done"):
            continue
        inner = computations.get(_called(instruction), {})
        read = [instructions[name] for name in instruction.operands if name in instructions]
        opcodes = {step.opcode for step in inner.values()} or {opcode}
        yield Kernel(
            kind=_kind(instruction),
            bytes=instruction.size + sum(_bytes_read(instruction, instructions, inner)),
            operations=_operations(instruction, instructions)
            + sum(_operations(step, inner) for step in inner.values()),
            moves_weights=bool(read)
            and all(operand.name in weights for operand in read)
            and _only_moves(opcodes),
        )


def _only_moves(opcodes) -> bool:
    """Whether a kernel moves what it reads and computes nothing.

    One that converts parts as they lie is no move: without it there would be no conversion.
    """
    moves = opcodes & MOVES - {"reshape"}
    if "convert" in opcodes:
        moves -= {"slice"}
    return bool(moves) and opcodes <= MOVES | NAMES_ONLY | {"convert"}


def _bytes_read(instruction, instructions, inner) -> Iterator[float]:
    """What a kernel reads of each operand: of one that it only cuts parts from, these parts."""
    parameters = {
        int(step.line.partition(")")[0]): step.name
        for step in inner.values()
        if step.opcode == "parameter"
    }
    for number, name in enumerate(instruction.operands):
        if name not in instructions:
            continue
        whole = instructions[name]
        users = _users(inner, parameters[number]) if number in parameters else []
        cut = [math.prod(step.dims) for step in users if step.opcode == "slice"]
        part = sum(cut) / math.prod(whole.dims) if cut and len(cut) == len(users) else 1
        yield min(part, 1) * whole.size


def _users(inner, name) -> list[Instruction]:
    """The instructions that read an array, those behind a bitcast or a conversion included."""
    users = []
    for step in inner.values():
        if name in step.operands:
            through = step.opcode in ("bitcast", "convert")
            users += _users(inner, step.name) if through else [step]
    return users


def _weights(computations, instructions) -> set[str]:
    """Names of the parameters of a network, and of what only moves or converts them."""
    names = set()
    for instruction in instructions.values():
        if instruction.opcode == "parameter":
            if re.search(r'op_name="[^"]*params', instruction.line):
                names.add(instruction.name)
        elif instruction.operands and names.issuperset(instruction.operands):
            inner = computations.get(_called(instruction), {instruction.name: instruction})
            if {step.opcode for step in inner.values()} <= MOVES | NAMES_ONLY | {"convert"}:
                names.add(instruction.name)
    return names


def _called(instruction):
    found = re.search(r"calls=%?([\w.\-]+)", instruction.line)
    return found[1] if found else ""


def _kind(instruction):
    """The opcode, with what a fusion computes or what a custom call calls."""
    if instruction.opcode == "custom-call":
        return re.search(r'custom_call_target="([^"]*)"', instruction.line)[1].lstrip("_$")
    if instruction.opcode == "fusion":
        return re.sub(r"(_fusion)?[._]*\d*(\.\w+)?$", "", instruction.name)
    return instruction.opcode.removesuffix("-start")


def _operations(instruction, instructions) -> float:
    """Multiplications and additions of a convolution or a matrix product, otherwise 0."""
    shapes = [instructions[name].dims for name in instruction.operands if name in instructions]
    target = re.search(r'custom_call_target="([^"]*)"', instruction.line)
    target = target[1] if target else ""
    if instruction.opcode == "convolution":
        return _convolution(instruction, shapes)
    if "conv" in target:
        return _cudnn_convolution(target, instruction, shapes)
    if instruction.opcode == "dot" or "matmul" in target:
        contracted = re.search(r'lhs_contracting_d\w+[="\s:]*[{\[]([\d,"]*)', instruction.line)
        axes = [int(n) for n in re.findall(r"\d+", contracted[1])] if contracted else []
        return 2 * math.prod(instruction.dims) * math.prod(shapes[0][axis] for axis in axes)
    return 0.0


def _convolution(instruction, shapes):
    """The operations on elements alone, not on padding and the holes of dilated arrays.

    A TPU multiplies batches of matrices as a convolution of which an axis counts the matrices. It
    is dilated or padded so that each output meets one of them alone.
    """
    labels = _LABELS.search(instruction.line).groups()
    images, kernel, outputs = (
        dict(zip(names, dims, strict=True))
        for names, dims in zip(labels, (*shapes[:2], instruction.dims), strict=True)
    )
    window = re.search(r"window={([^}]*)}", instruction.line)
    fields = dict(re.findall(r"(\w+)=(\S+)", window[1] if window else ""))
    met = 1
    for place, axis in enumerate(sorted(images.keys() - {"b", "f"})):
        row = {name: values.split("x")[place] for name, values in fields.items()}
        steps = (int(row.get(name, 1)) for name in ("stride", "lhs_dilate", "rhs_dilate"))
        padding = int(row.get("pad", "0_0").partition("_")[0])
        met *= _met(images[axis], kernel[axis], outputs[axis], padding, *steps)
    return 2 * met * outputs["b"] * outputs["f"] * kernel["i"]


@functools.cache
def _met(size, window, outputs, padding, stride, spread, dilation) -> int:
    """How often the elements along an axis meet one of the window, over all outputs."""
    starts, offsets = stride * np.arange(outputs) - padding, dilation * np.arange(window)
    places = starts[:, None] + offsets
    return int(np.sum((places >= 0) & (places < size * spread) & (places % spread == 0)))


def _cudnn_convolution(target, instruction, shapes):
    # Input, kernel and output of the forward convolution, whichever of them is the result.
    first, second, result = *shapes[:2], instruction.dims
    if "BackwardFilter" in target:
        outputs, kernel = second, result
    elif "BackwardInput" in target:
        outputs, kernel = first, second
    else:
        outputs, kernel = result, second
    labels = _LABELS.search(instruction.line)[2]
    return 2 * math.prod(outputs) * math.prod(kernel) / kernel[labels.index("o")]
