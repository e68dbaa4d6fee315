"""Reads the files of weights that lines of its input name, within limits; answers a line for each.

It says `ready` first. An answer is `read`, `refused`, or what went wrong.
"""

import pathlib
import resource
import sys
import traceback

import numpy as np

from hrjax.weights import file_formats, foreign_names

SPARE = 200 * 2**20  # bytes that reading may take besides three times the declared size


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        path = pathlib.Path(line.rstrip("\n"))
        with path.open("rb") as file:
            declared = max(path.stat().st_size, unpacked(file.read()))
        limit_memory(virtual_memory() + 3 * declared + SPARE)
        answer = read(path)
        limit_memory(resource.RLIM_INFINITY)
        print(answer, flush=True)


def read(path):
    try:
        content = file_formats.read(path)
    except ValueError as error:
        if isinstance(error.__cause__, MemoryError):
            return "more memory than three times its declared size and 200 MB"
        if not str(error).startswith(str(path)) or len(str(error)) > 1000 or "\n" in str(error):
            return f"message {error!r}"
        return "refused"
    except BaseException:
        return repr(traceback.format_exc()[-1000:])
    try:
        for _, array in foreign_names.translate(content).values():
            np.asarray(array).tobytes()  # every byte can be read
    except ValueError as error:
        return "refused" if len(str(error)) < 2000 else f"message {error!r}"
    except BaseException:
        return repr(traceback.format_exc()[-1000:])
    return "read"


def unpacked(data):
    """The size that the entries of an archive claim, up to what readers accept."""
    sizes, at = 0, data.find(b"PK\x01\x02")
    while at >= 0:
        sizes += int.from_bytes(data[at + 24 : at + 28], "little")
        at = data.find(b"PK\x01\x02", at + 4)
    return min(sizes, 128 * 2**20)


def virtual_memory():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit_memory(size):
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
