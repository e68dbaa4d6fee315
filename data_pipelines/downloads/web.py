"""Downloads files into a cache and resumes interrupted transfers.

A file is complete when it has the length that the server announced, or ends a chunked transfer
properly. A server that says neither is believed only where the file's SHA-256 is known.
"""

import contextlib
import hashlib
import http.client
import logging
import os
import pathlib
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request

from data_pipelines.downloads import cache, checksums
from data_pipelines.messages import progress

logger = logging.getLogger(__name__)

ATTEMPTS = 5  # how often an interrupted transfer is resumed
TIMEOUT = 20  # seconds without a byte
SILENCES = 2  # how often that may happen
SLOWEST = 100  # bytes per second, over a minute
RESERVE = 2**30  # bytes that a transfer of unknown length leaves free on the disk
CHUNK = 2**20
MAX_REASON = 200  # characters of a server's words in a message
LOCAL = ("localhost", "127.0.0.1", "::1")
QUOTED = "%/:=&?~#+!$,;'@()*[]"  # characters of an address that stay as they are
VERSION = re.compile(r"[!-~][ -~]{0,200}")  # what can be sent back in a header
HTML = re.compile(rb"\s*<(!doctype html|html|head)", re.IGNORECASE)


class _InterruptedError(OSError):
    """A transfer ended early, or the part that is here does not fit; it may be tried again."""


class _SilentError(_InterruptedError):
    """Nothing has come for a while."""


def is_address(path: str) -> bool:
    """Whether `path` is an address on the web."""
    return "://" in path


def fetch(address: str, *, digits_in_name: bool = True) -> pathlib.Path:
    """The file at an https address, from the cache ($HRJAX_CACHE or ~/.cache/hrjax) or the web.

    The address may end in `#sha256=DIGITS`, the first 8 to 64 digits of the SHA-256 that the file
    must have. Without it, digits in the file's name are required, where the name has some and
    `digits_in_name` is True: some publishers name archives by the digits of another file.
    """
    address, digits = checksums.split(address)
    address = urllib.parse.quote(address, safe=QUOTED)
    _check(address)
    name = cache.file_name(address)
    if not name:
        raise ValueError(f"{address} does not name a file; give the address of the file itself")
    digits = digits or (checksums.promised(name) if digits_in_name else "")
    folder = hashlib.sha256(address.encode()).hexdigest()[:12]
    place = pathlib.PurePath("files", folder, name)
    file = _cached(place, digits) or _fetch_into(cache.make(place), place, address, digits)
    logger.info("%s: SHA-256 %s", file, checksums.compute(file))
    return file


def _fetch_into(file, place, address, digits):
    with cache.partial(file) as part:
        # Another process may have completed it in the meantime.
        completed = _cached(place, digits)
        if completed:
            return completed
        logger.info("downloading %s to %s", address, file)
        _download(address, part, digits)
        part.replace(file)
        _version_file(part).unlink(missing_ok=True)
    return file


def _cached(place, digits):
    file = cache.find(place)
    wrong = file and digits and not checksums.compute(file).startswith(digits)
    return None if wrong else file


def _check(address, came_from=""):
    try:
        parts = urllib.parse.urlsplit(address)
        is_local = parts.hostname in LOCAL
        was_local = not came_from or urllib.parse.urlsplit(came_from).hostname in LOCAL
    except ValueError as error:
        raise ValueError(f"cannot download {address}: {error}") from error
    if is_local and not was_local:
        raise ValueError(f"cannot download {address}: {came_from} leads to this machine")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ValueError(
            f"cannot download {address}: expected an https address (http only from this machine)"
        )


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, response, code, message, headers, address):
        _check(address, request.full_url)
        return super().redirect_request(request, response, code, message, headers, address)


def _download(address, part, digits):
    """Makes `part` the complete file."""
    problem, attempts, silences = "", 0, 0
    while attempts < ATTEMPTS and silences < SILENCES:
        attempts, resumed = attempts + 1, _size(part) > 0
        try:
            _transfer(address, part, digits)
            _check_content(address, part, digits, resumed)
            return
        except _InterruptedError as error:
            problem, silences = str(error), silences + isinstance(error, _SilentError)
            logger.info("%s: %s", address, problem)
    have = _size(part) if _read_version(part)[1] else 0
    rest = f"the same command resumes after the {have} bytes that are here"
    raise OSError(
        f"cannot download {address}: {problem} ({attempts} attempts); "
        f"{rest if have else 'try again later'}"
    )


def _transfer(address, part, digits):
    """Appends the missing part of a file, or begins anew."""
    have, (version, announced) = _size(part), _read_version(part)
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})
    # The version of the part that is here; a file that has changed is sent from the start.
    if 0 < have < announced:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    with _open(request, part) as response:
        if response.status == http.client.PARTIAL_CONTENT:
            expected = (have, announced, version)
            total = _check_range(response, part, expected)
        else:
            total = _length(address, response, digits)
            _restart(part)
            _write_version(part, _version(response), total)
        _check_room(address, part, total)
        _copy(response, part, total)
    if total is not None and _size(part) != total:
        raise _InterruptedError("the connection closed early")


@contextlib.contextmanager
def _network():
    """Turns failures of the connection into _InterruptedError."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join((str(error) or repr(error)).split())[:MAX_REASON]
        is_silent = isinstance(getattr(error, "reason", error), TimeoutError)
        raise (_SilentError if is_silent else _InterruptedError)(reason) from error


def _open(request, part):
    address = request.full_url
    opener = urllib.request.build_opener(_CheckedRedirects)
    try:
        with _network():
            response = _answer(opener, request)
    except _InterruptedError as error:
        cause = error.__cause__
        if not isinstance(cause, urllib.error.HTTPError):
            raise
        cause.close()
        if cause.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            _restart(part)
            raise
        reason = " ".join(str(cause).split())[:MAX_REASON]
        raise OSError(f"cannot download {address}: the server says {reason}") from cause
    headers = response.headers
    if response.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
        raise OSError(f"cannot download {address}: the server answers {response.status}")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise OSError(f"cannot download {address}: the server sends it compressed")
    if headers.get_content_type() == "text/html":
        raise OSError(f"cannot download {address}: the server sends a page (HTML), not a file")
    return response


def _answer(opener, request):
    try:
        return opener.open(request, timeout=TIMEOUT)
    except ValueError as error:  # of an address; those of redirects say so themselves
        if str(error).startswith("cannot download"):
            raise
        raise ValueError(f"cannot download {request.full_url}: {error}") from error


def _check_range(response, part, expected):
    """The file's length; raises _InterruptedError unless the answer is the part that is missing."""
    content = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    start, last, total = map(int, content.groups()) if content else (-1, -1, -1)
    fits = start <= last < total and response.length in (None, last - start + 1)
    if (start, total, _version(response)) != expected or not fits:
        _restart(part)
        raise _InterruptedError("the server sent another part than the one that is missing")
    return total


def _version(response):
    """What identifies the version of a file: its strong ETag, or its date, or nothing."""
    tag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _restart(part):
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _write_version(part, version, total):
    if VERSION.fullmatch(version) and total:
        _version_file(part).write_text(f"{version}\n{total}\n", "ascii")


def _read_version(part):
    """The version and the length of the file that a part is of; an empty text and 0: unknown."""
    file = _version_file(part)
    if not file.is_file():
        return "", 0
    version, _, total = file.read_text("latin-1").partition("\n")
    return version, int(total) if re.fullmatch(r"\d{1,18}\n", total) else 0


def _length(address, response, digits):
    """The file's length; None where the transfer shows its own end or the SHA-256 will tell."""
    if response.length is None and not response.chunked and not digits:
        raise OSError(
            f"cannot download {address}: the server does not say how long the file is. Add "
            "#sha256= and its SHA-256 to the address, to know whether all of it has arrived"
        )
    return None if response.chunked else response.length


def _check_room(address, part, total):
    missing = (total or 0) - _size(part)
    free = shutil.disk_usage(part.parent).free - (RESERVE if total is None else 0)
    if missing > free or free < 0:
        wanted = "a file of unknown length" if total is None else f"{total} bytes"
        raise OSError(f"cannot download {address}: {wanted}, and {part.parent} has {free} free")


def _copy(response, part, total):
    done, started, since_check = 0, time.monotonic(), 0
    size = {"start": _megabytes(_size(part)), "total": _megabytes(total or 0) or None}
    shown = progress.Progress(f"downloading {part.stem}", units="MB", **size)
    with part.open("ab") as file, shown:
        left = None if total is None else total - file.tell()
        while left is None or left > 0:
            with _network():
                chunk = response.read1(CHUNK if left is None else min(CHUNK, left))
            if not chunk:
                break
            file.write(chunk)
            shown.update(_megabytes(done + len(chunk)) - _megabytes(done))
            done, since_check = done + len(chunk), since_check + len(chunk)
            left = None if left is None else left - len(chunk)
            seconds = time.monotonic() - started
            if seconds > 60 and done < SLOWEST * seconds:
                raise _InterruptedError(f"{done} bytes in {seconds:.0f} seconds")
            if total is None and since_check > 64 * CHUNK:
                _check_room(response.url, part, total)
                since_check = 0
        file.flush()
        os.fsync(file.fileno())


def _megabytes(size):
    return round(size / 1e6)


def _check_content(address, part, digits, resumed):
    """Removes a complete part that is not the file that was asked for, and raises an error."""
    with part.open("rb") as file:
        start = file.read(200)
    if not start or HTML.match(start):
        _restart(part)
        what = "a page (HTML), not a file" if start else "an empty file"
        raise OSError(f"cannot download {address}: the server sends {what}")
    actual = checksums.compute(part) if digits else ""
    if actual.startswith(digits):
        return
    _restart(part)
    if resumed:
        raise _InterruptedError("the resumed file has another SHA-256 than expected")
    raise OSError(
        f"cannot download {address}: its SHA-256 is {actual}, expected {digits}. Where the file's "
        "name only looks as if it had the SHA-256 in it, add #sha256= and the first to the address"
    )


def _version_file(part):
    return part.with_name(f"{part.name}.version")


def _size(file):
    return file.stat().st_size if file.is_file() else 0
