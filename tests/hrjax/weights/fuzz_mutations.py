"""Changes files of weights at random, byte by byte and by the structure of each format."""

import io
import json
import pickletools
import re
import zipfile

from tests.hrjax.weights import seed_weights as parts

NUMBERS = (0, 1, 2, 3, 4, 5, 127, 128, 255, 256, 1000, 2**15, 2**16 - 1, 2**31 - 1, 2**31)
LARGE = (*NUMBERS, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
# Pieces of pickles, most of them operations; they are put anywhere.
PIECES = (
    *(
        bytes([code])
        for code in b"()]}.0122NRQabdelsutpg\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"
    ),
    *(b"h\x00", b"h\x01", b"h\x05", b"q\x00", b"q\x01", b"q\x05", b"K\x00", b"K\x04", b"K\xff"),
    *(b"J\xff\xff\xff\xff", b"J\xff\xff\xff\x7f", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"),
    *(b"U\x01a", b"C\x04\0\0\0\0", b"X\x01\0\0\0w", b"I01\n", b"F1e999\n", b"Vx\n", b"S'x'\n"),
    *(b"\x96\x04\0\0\0\0\0\0\0abcd", b"]h\x00a", b"}h\x00h\x00s", b"h\x00\x85", b"h\x00h\x00\x86"),
    *(
        b"cnumpy\ndtype\n",
        b"cnumpy._core.multiarray\n_reconstruct\n",
        b"ccollections\nOrderedDict\n",
    ),
    *(b"c__builtin__\nset\n", b"c__builtin__\ntuple\n", b"c__builtin__\nbytearray\n"),
    *(b"ccollections\nOrderedDict\n", b"(K\x04t"),
    *(b"c_codecs\nencode\n", b"ctorch\nFloatStorage\n", b"ctorch\nDoubleStorage\n"),
    *(b"cargparse\nNamespace\n", b"ctorch._utils\n_rebuild_parameter\n", b"cos\nsystem\n"),
    *(b"cnumpy._core.multiarray\nscalar\n", b"cnumpy._core.numeric\n_frombuffer\n"),
    *(parts.tensor(), parts.storage(), parts.tensor(size=(2**31 - 1,), stride=(0,))),
    *(parts.tensor(parts.tensor()), parts.tensor(offset=-1), parts.text("x" * 300)),
)
WORDS = (
    "",
    "0",
    "-1",
    "9" * 30,
    "(",
    ")",
    "{",
    "}",
    "'",
    "|O8",
    "<U99",
    "<f8",
    "(2,-1)",
    "f4,f4",
    "\0",
)


def mutate(random, name, data):
    """A name and a variation of the bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        structural = random.random() < 0.7
        change = next((f for end, f in BY_ENDING.items() if name.endswith(end)), change_bytes)
        if change is change_zip and not data.startswith(b"PK"):
            change = change_pickle
        try:
            data = (change if structural else change_bytes)(random, data)
        except Exception:  # it is too damaged for a change of its structure
            data = change_bytes(random, data)
    return data


def change_bytes(random, data):
    """Changes, removes, repeats or inserts some bytes."""
    data = bytearray(data or b"\0")
    at = random.randrange(len(data))
    size = random.choice((1, 1, 2, 4, 8, 64))
    number = random.choice(LARGE).to_bytes(8, "little")[:size]
    kind = random.randrange(7)
    if kind == 0:
        data[at] ^= 1 << random.randrange(8)
    elif kind == 1:
        data[at : at + size] = number
    elif kind == 2:
        del data[at : at + size]
    elif kind == 3:
        data[at:at] = data[at : at + size] * random.choice((1, 2, 100))
    elif kind == 4:
        data[at:at] = random.randbytes(size)
    elif kind == 5:
        del data[at:]
    else:
        data[at : at + size] = random.randbytes(size)
    return bytes(data)


def change_pickle(random, data):
    """Changes the operations of a pickle, which may be followed by others."""
    ends, start = [0], 0
    try:
        while True:
            start = [at for _, _, at in pickletools.genops(data[start:])][-1] + 1 + start
            ends.append(start)
    except Exception:
        pass
    first = random.randrange(len(ends) - 1) if len(ends) > 1 else 0
    begin, end = (ends[first], ends[first + 1]) if len(ends) > 1 else (0, len(data))
    places = [at + begin for _, _, at in pickletools.genops(data[begin:end])]
    one, two = sorted(random.choices(places, k=2))
    after = dict(zip(places, [*places[1:], end], strict=True))
    kind = random.randrange(5)
    if kind == 0:  # leave operations out
        return data[:one] + data[two if random.random() < 0.3 else after[one] :]
    if kind == 1:  # repeat operations
        return data[:two] + data[one:two] * random.choice((1, 2, 50)) + data[two:]
    if kind == 2:  # exchange two
        first, second = data[one : after[one]], data[two : after[two]]
        between = data[after[one] : two] if two > one else b""
        return data[:one] + second + between + (first if two > one else b"") + data[after[two] :]
    if kind == 3:  # replace the argument of one
        size = after[one] - one - 1
        number = random.choice(LARGE).to_bytes(8, "little")[: min(size, 8)]
        return data[: one + 1] + number + data[one + 1 + len(number) :]
    pieces = b"".join(random.choices(PIECES, k=random.choice((1, 2, 3, 10, 100))))
    return data[:one] + pieces + data[one:]


def change_zip(random, data):
    """Changes an entry and packs the archive again, or changes a field of its directory."""
    if random.random() < 0.3:
        marks = [m.start() for m in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", data)]
        at = random.choice(marks) + random.randrange(4, 46, 2)
        size = random.choice((2, 4))
        return data[:at] + random.choice(LARGE).to_bytes(8, "little")[:size] + data[at + size :]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = random.randrange(len(entries))
    packed = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    method = random.choices(methods, (8, 4, 1, 1))[0]
    with zipfile.ZipFile(packed, "w", method) as archive:
        for number, (info, content) in enumerate(entries):
            name = info.filename
            if number == chosen:
                change = {"pkl": change_pickle, "npy": change_header}.get(name[-3:], change_bytes)
                content = change(random, content)
            archive.writestr(name, content)
    return packed.getvalue()


def change_header(random, data):
    """Changes the header of a .npy entry, or its text's tokens."""
    length = int.from_bytes(data[8:10], "little")
    header = _change_text(random, data[10 : 10 + length].decode("latin-1"))
    return data[:8] + (len(header) % 2**16).to_bytes(2, "little") + header + data[10 + length :]


def change_safetensors(random, data):
    """Changes the header of a .safetensors file."""
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length].decode()
    if random.random() < 0.5:
        header = json.loads(text)
        tensor = header[random.choice(list(header))]
        key = random.choice(list(tensor))
        tensor[key] = random.choice(([0, 2**63], [-1], [], None, "F64", "BF16", {}, [2**32] * 2, 7))
        text = json.dumps(header)
    header = _change_text(random, text) if random.random() < 0.5 else text.encode()
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _change_text(random, text):
    tokens = re.findall(r"\w+|\W", text)
    at = random.randrange(len(tokens))
    tokens[at] = random.choice((*WORDS, *map(str, LARGE), tokens[random.randrange(len(tokens))]))
    if random.random() < 0.1:
        tokens[at] *= 5000
    return "".join(tokens).encode("latin-1", "replace")


BY_ENDING = {
    ".npz": change_zip,
    ".pth": change_zip,
    ".pt": change_pickle,
    ".pdparams": change_pickle,
    ".safetensors": change_safetensors,
}
