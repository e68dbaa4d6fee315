"""Reads pickles of PyTorch, Paddle and NumPy as arrays, containers and plain values.

Python's own reader calls whatever a pickle names. This one interprets the operations itself:
containers are made here, names stand for entries of a fixed table (`pickled_types`), and nothing
that a pickle can reach is shared with the program. The work is proportional to the file's size.
"""

import codecs
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from hrjax.weights.readers import pickled_types
from hrjax.weights.readers.budget import Budget
from hrjax.weights.readers.pickled_types import DROPPED, ForbiddenError, Global

MAX_DEPTH = 100  # of containers inside containers
MAX_LINE = 1000  # bytes of a number or a name that is written as text
MAX_INDEX = 12  # bytes of an index that is written as text
MAX_INTEGER = 32  # bytes of a binary integer; the largest in use are states of random generators
LONG_TEXT = 2**20  # bytes above which a text must be an array's bytes, written as latin-1


def load(file: BinaryIO, size: int, budget: Budget, load_storage: Callable | None = None) -> Any:
    """The object of the pickle at the position of a file of `size` bytes.

    `load_storage` returns a `pickled_types.Storage` for the description of a tensor's storage.
    """
    return _resolve(_Reader(file, size, budget, load_storage).run(), {}, depth=0)


class _Reader:
    """The stack and the memo of one pickle."""

    def __init__(self, file, size, budget, load_storage):
        self.file = file
        self.size = size
        self.budget = budget
        self.load_storage = load_storage
        self.stack = []
        self.push = self.stack.append
        self.marks = []  # lengths of the stack
        self.memo = {}

    def run(self):
        read = self.file.read
        for _ in range(self.budget.operations):
            code = read(1)
            operation = OPERATIONS.get(code)
            if operation is None:
                if code == b".":
                    return self.stack.pop()
                raise ValueError(f"its pickle has the operation {code!r}" if code else "cut short")
            operation(self)
        raise ValueError(f"its pickle has more than {self.budget.operations} operations")

    # Reading the arguments of operations.

    def take(self, count):
        if count > LONG_TEXT and count > self.size - self.file.tell():
            raise ValueError(f"{count} bytes are announced and fewer are left")
        data = self.file.read(count)
        if len(data) < count:
            raise ValueError("its pickle is cut short")
        return data

    def unsigned(self, width):
        return int.from_bytes(self.take(width), "little")

    def line(self, limit=MAX_LINE):
        line = self.file.readline(limit)
        if not line.endswith(b"\n"):
            raise ValueError("a line of its pickle is cut short or too long")
        return line[:-1]

    def pop_mark(self):
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def put(self, key):
        self.memo[key] = self.stack[-1]

    # Containers.

    def extend(self, items):
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif target is not DROPPED:
            raise ValueError(f"its pickle appends to a {type(target).__name__}")

    def update(self, items):
        target = self.stack[-1]
        if target is DROPPED:
            return
        if type(target) is not dict:
            raise ValueError(f"its pickle sets items of a {type(target).__name__}")
        keys, values = items[::2], items[1::2]
        pickled_types.check_keys(self.budget, keys)
        target.update(zip(keys, values, strict=True))

    def add(self, items):
        if type(self.stack[-1]) is not set:
            raise ValueError(f"its pickle adds to a {type(self.stack[-1]).__name__}")
        pickled_types.check_keys(self.budget, items)
        self.stack[-1].update(items)

    # Names and calls.

    def call(self, arguments):
        function = self.stack.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            raise ValueError(f"its pickle calls a {type(function).__name__}")
        if function.call is None:
            raise ForbiddenError(f"it calls {function.name}, which no file of weights needs")
        self.budget.spend_arguments(_length(arguments))
        self.push(function.call(self.budget, *arguments))

    def build(self):
        state, target = self.stack.pop(), self.stack[-1]
        self.budget.spend_arguments(_length(state) if type(state) is tuple else 0)
        pickled_types.set_state(target, state)

    def persistent(self):
        identifier = self.stack.pop()
        if self.load_storage is None or not _describes_storage(identifier):
            raise ForbiddenError("it refers to something outside the file")
        self.push(self.load_storage(*identifier[1:]))


def _length(arguments):
    sized = (str, bytes, bytearray, list, tuple, dict, set)
    return len(arguments) + sum(len(x) for x in arguments if isinstance(x, sized))


def _describes_storage(identifier):
    return (
        type(identifier) is tuple
        and len(identifier) in (5, 6)
        and identifier[0] == "storage"
        and type(identifier[1]) is str
        and identifier[1] in pickled_types.STORAGES.values()
        and type(identifier[2]) is str
        and type(identifier[4]) is int
        and identifier[4] >= 0
    )


def _text(reader, data, encoding="utf-8"):
    # The widest character decides how much memory each character takes.
    if len(data) > LONG_TEXT and (np.frombuffer(data, np.uint8).max() > 0xC3 or b"\\U" in data):
        raise ValueError(f"a text of {len(data)} bytes")
    text = str(data, encoding, "surrogatepass" if encoding == "utf-8" else "strict")
    if not text.isascii():
        reader.budget.spend_text(sys.getsizeof(text))
    reader.push(text)


def _quoted(line):
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
        raise ValueError("a text of its pickle has no quotes")
    return str(codecs.escape_decode(line[1:-1])[0], "latin-1")


def _integer(line):
    flags = {b"00": False, b"01": True}
    return flags[line] if line in flags else int(line.removesuffix(b"L"))


def _signed(data):
    return int.from_bytes(data, "little", signed=True)


def _long(reader, width):
    count = reader.unsigned(width)
    if count > MAX_INTEGER:
        raise ValueError(f"its pickle has an integer of {count} bytes")
    reader.push(_signed(reader.take(count)))


def _tuple(reader, count):
    items = reader.stack[-count:]
    if len(items) < count:
        raise ValueError("its pickle takes more values than there are")
    reader.stack[-count:] = [tuple(items)]


def _pop(reader):
    # As in Python's own reader: a mark may be taken off, too.
    if reader.marks and reader.marks[-1] == len(reader.stack):
        reader.marks.pop()
    else:
        reader.stack.pop()


def _name(reader, module, name):
    if type(module) is not str or type(name) is not str:
        raise ValueError("a name of its pickle is not a text")
    reader.push(pickled_types.find(module, name))


def _stack_global(reader):
    name, module = reader.stack.pop(), reader.stack.pop()
    _name(reader, module, name)


def _new_with_keywords(reader):
    _, arguments = reader.stack.pop(), reader.stack.pop()
    if reader.stack[-1] is not pickled_types.IGNORED_GLOBAL:
        raise ValueError("its pickle makes an object with keyword arguments")
    reader.call(arguments)


def _pairs(items):
    if len(items) % 2:
        raise ValueError("a key of its pickle has no value")
    return items


def _dict(reader):
    items = _pairs(reader.pop_mark())
    reader.push({})
    reader.update(items)


def _set_item(reader):
    items = reader.stack[-2:]
    del reader.stack[-2:]
    reader.update(items)


def _frozenset(reader):
    items = reader.pop_mark()
    pickled_types.check_keys(reader.budget, items)
    reader.push(frozenset(items))


OPERATIONS = {
    b"\x80": lambda r: r.take(1),  # the protocol
    b"\x95": lambda r: r.take(8),  # the size of a frame
    b"(": lambda r: r.marks.append(len(r.stack)),
    b"0": _pop,
    b"1": lambda r: r.pop_mark(),
    b"2": lambda r: r.push(r.stack[-1]),
    # Numbers and constants.
    b"N": lambda r: r.push(None),
    b"\x88": lambda r: r.push(True),
    b"\x89": lambda r: r.push(False),
    b"I": lambda r: r.push(_integer(r.line())),
    b"L": lambda r: r.push(_integer(r.line())),
    b"F": lambda r: r.push(float(r.line())),
    b"J": lambda r: r.push(_signed(r.take(4))),
    b"K": lambda r: r.push(r.take(1)[0]),
    b"M": lambda r: r.push(r.unsigned(2)),
    b"G": lambda r: r.push(struct.unpack(">d", r.take(8))[0]),
    b"\x8a": lambda r: _long(r, 1),
    b"\x8b": lambda r: _long(r, 4),
    # Texts and bytes; those of Python 2 are read as latin-1.
    b"S": lambda r: r.push(_quoted(r.line(-1))),
    b"T": lambda r: r.push(str(r.take(r.unsigned(4)), "latin-1")),
    b"U": lambda r: r.push(str(r.take(r.unsigned(1)), "latin-1")),
    b"V": lambda r: _text(r, r.line(-1), "raw-unicode-escape"),
    b"X": lambda r: _text(r, r.take(r.unsigned(4))),
    b"\x8c": lambda r: _text(r, r.take(r.unsigned(1))),
    b"\x8d": lambda r: _text(r, r.take(r.unsigned(8))),
    b"B": lambda r: r.push(r.take(r.unsigned(4))),
    b"C": lambda r: r.push(r.take(r.unsigned(1))),
    b"\x8e": lambda r: r.push(r.take(r.unsigned(8))),
    b"\x96": lambda r: r.push(bytearray(r.take(r.unsigned(8)))),
    # Containers.
    b")": lambda r: r.push(()),
    b"\x85": lambda r: _tuple(r, 1),
    b"\x86": lambda r: _tuple(r, 2),
    b"\x87": lambda r: _tuple(r, 3),
    b"t": lambda r: r.push(tuple(r.pop_mark())),
    b"]": lambda r: r.push([]),
    b"l": lambda r: r.push(r.pop_mark()),
    b"a": lambda r: r.extend([r.stack.pop()]),
    b"e": lambda r: r.extend(r.pop_mark()),
    b"}": lambda r: r.push({}),
    b"d": _dict,
    b"s": _set_item,
    b"u": lambda r: r.update(_pairs(r.pop_mark())),
    b"\x8f": lambda r: r.push(set()),
    b"\x90": lambda r: r.add(r.pop_mark()),
    b"\x91": _frozenset,
    # The memo.
    b"p": lambda r: r.put(int(r.line(MAX_INDEX))),
    b"q": lambda r: r.put(r.take(1)[0]),
    b"r": lambda r: r.put(r.unsigned(4)),
    b"\x94": lambda r: r.put(len(r.memo)),
    b"g": lambda r: r.push(r.memo[int(r.line(MAX_INDEX))]),
    b"h": lambda r: r.push(r.memo[r.take(1)[0]]),
    b"j": lambda r: r.push(r.memo[r.unsigned(4)]),
    # Names, calls, and states of what calls made.
    b"c": lambda r: _name(r, str(r.line(), "utf-8"), str(r.line(), "utf-8")),
    b"\x93": _stack_global,
    b"R": lambda r: r.call(r.stack.pop()),
    b"\x81": lambda r: r.call(r.stack.pop()),
    b"\x92": _new_with_keywords,
    b"b": _Reader.build,
    b"Q": _Reader.persistent,
}


def _resolve(value, known, depth):
    """`value` with arrays and plain values in place of stand-ins, containers included.

    `known` holds the containers by identity, so that each is visited once however often it occurs.
    """
    if type(value) not in (dict, list, tuple) or not value:
        return pickled_types.resolve(value)
    if depth > MAX_DEPTH:
        raise ValueError(f"its containers are nested more than {MAX_DEPTH} deep")
    if id(value) in known:
        _, resolved = known[id(value)]
        if resolved is None:
            raise ValueError("a container of its pickle holds itself")
        return resolved
    known[id(value)] = value, None
    if type(value) is tuple:
        resolved = pickled_types.without_name(tuple(_resolve(x, known, depth + 1) for x in value))
    else:
        resolved = value
        for key, child in value.items() if type(value) is dict else enumerate(value):
            value[key] = _resolve(child, known, depth + 1)
    known[id(value)] = value, resolved
    return resolved
