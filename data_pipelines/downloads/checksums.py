"""SHA-256 checksums of files: required by `#sha256=`, or promised by a published file's name."""

import hashlib
import pathlib
import re

FRAGMENT = re.compile(r"(.*)#sha256=(.*)", re.DOTALL)
DIGITS = re.compile(r"[0-9a-f]{8,64}")
# torch.hub and OpenMMLab name files like resnet50-0676ba61.pth and hrnet_w32-c78dce93_20200708.pth.
PROMISE = re.compile(r"-([0-9a-f]{8,64})(?:_\d{8})?\.[a-z]")


def split(source: str) -> tuple[str, str]:
    """A source without `#sha256=DIGITS`, and the digits, 8 to 64 of the SHA-256; or ""."""
    match = FRAGMENT.fullmatch(source)
    if not match:
        return source, ""
    digits = match[2].lower()
    if not DIGITS.fullmatch(digits):
        raise ValueError(
            f"{source} asks for the SHA-256 {match[2]!r}; expected its first 8 to 64 digits"
        )
    return match[1], digits


def promised(name: str) -> str:
    """The first digits of the SHA-256 that a published file's name gives, or ""."""
    match = PROMISE.search(name)
    # Digits alone are a date in most names.
    return match[1] if match and not match[1].isdecimal() else ""


def compute(file: pathlib.Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require(file: pathlib.Path, digits: str) -> None:
    """Raises ValueError unless the file's SHA-256 begins with `digits`."""
    actual = compute(file)
    if not actual.startswith(digits):
        raise ValueError(f"{file} has the SHA-256 {actual}, expected {digits}")
