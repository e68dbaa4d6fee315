"""What is printed, whatever it holds and whatever the terminal can show."""

import io
import sys


def escape_unprintable() -> None:
    """Makes stdout and stderr escape what they can't encode, such as names that are not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
