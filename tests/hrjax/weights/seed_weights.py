"""Small files of weights in every format: the seeds of the fuzzer, and parts to build others."""

import io
import pickle
import struct
import zipfile

import numpy as np
import safetensors.numpy

MAGIC = 0x1950A86A20F9469CFC6C
FOUR = np.arange(4, dtype=np.float32)


def text(value):
    """A pickled text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    """A pickled integer of at most 32 bits."""
    return b"J" + struct.pack("<i", value)


def row(*items):
    """A pickled tuple."""
    return b"(" + b"".join(items) + b"t"


def table(**items):
    """A pickled dict."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(count=4, key="0", kind="FloatStorage", extra=b""):
    """The pickled reference to a storage."""
    name = b"ctorch\n" + kind.encode() + b"\n"
    return row(text("storage"), name, text(key), text("cpu"), integer(count) + extra) + b"Q"


def tensor(source=None, offset=0, size=(4,), stride=(1,)):
    """A pickled tensor of PyTorch."""
    numbers = [row(*map(integer, values)) for values in (size, stride)]
    arguments = (
        source or storage(),
        integer(offset),
        *numbers,
        b"\x89",
        b"ccollections\nOrderedDict\n)R",
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + row(*arguments) + b"R"


def pickled(body):
    """A whole pickle."""
    return b"\x80\x02" + body + b"."


def torch_zip(body, storages=None, method=zipfile.ZIP_STORED):
    """A file of PyTorch with a pickled body."""
    storages = {"0": FOUR.tobytes()} if storages is None else storages
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a/data.pkl", pickled(body))
        archive.writestr("a/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"a/data/{key}", data)
    return file.getvalue()


def torch_legacy(body, storages=None):
    """A file of PyTorch as before version 1.6, with a pickled body."""
    storages = {"0": FOUR} if storages is None else storages
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(x, 2) for x in (MAGIC, 1001, system))
    numbers = (struct.pack("<q", len(x)) + x.tobytes() for x in storages.values())
    return head + pickled(body) + pickle.dumps(list(storages), 2) + b"".join(numbers)


def npz(arrays, save=np.savez):
    """An archive of NumPy."""
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def seeds(golden):
    """The bytes of a few small files by name."""
    arrays = {"conv.weight": FOUR.reshape(2, 2), "bn.bias": FOUR.astype(np.float16)}
    turned = arrays | {"turned": np.asfortranarray(FOUR.reshape(2, 2)), "zero": np.float64(0.5)}
    named = {"conv.weight": ("conv2d_0.w_0", FOUR), "epoch": 3, "words": {"a", "b"}}
    body = table(state_dict=table(w=tensor(), v=tensor(offset=1, size=(2,), stride=(2,))))
    old = table(w=tensor(storage(extra=b"N")))
    files = {
        "zip.pth": torch_zip(body),
        "deflated.pth": torch_zip(body, method=zipfile.ZIP_DEFLATED),
        "legacy.pt": torch_legacy(old),
        "plain.npz": npz(turned),
        "compressed.npz": npz(arrays, np.savez_compressed),
        "a.safetensors": safetensors.numpy.save(arrays, {"model.json": "{}"}),
        **{f"protocol{n}.pdparams": pickle.dumps(turned | named, n) for n in range(6)},
    }
    return files | {
        f"golden_{path.name}": path.read_bytes()
        for path in sorted((golden / "weights").iterdir())
        if path.suffix != ".md"
    }
