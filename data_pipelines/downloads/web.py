"""Downloads files into a cache and resumes interrupted transfers."""

import hashlib
import http.client
import logging
import os
import pathlib
import urllib.error
import urllib.parse
import urllib.request

logger = logging.getLogger(__name__)

ATTEMPTS = 5  # how often an interrupted transfer is resumed
TIMEOUT = 60  # seconds without a byte
CHUNK = 2**20
LOCAL = ("localhost", "127.0.0.1", "::1")


def is_address(path: str) -> bool:
    """Whether `path` is an address on the web."""
    return "://" in path


def fetch(address: str) -> pathlib.Path:
    """The file at an https address, from the cache ($HRJAX_CACHE or ~/.cache/hrjax) or the web."""
    _check(address)
    name = pathlib.PurePosixPath(urllib.parse.urlsplit(address).path).name
    if not name:
        raise ValueError(f"{address} does not name a file; give the address of the file itself")
    cache = pathlib.Path(os.environ.get("HRJAX_CACHE") or pathlib.Path.home() / ".cache" / "hrjax")
    folder = cache / "files" / hashlib.sha256(address.encode()).hexdigest()[:12]
    file, part = folder / name, folder / f"{name}.part"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        logger.info("downloading %s to %s", address, file)
        _download(address, part)
        part.rename(file)
    logger.info("%s: SHA-256 %s", file, _sha256(file))
    return file


def _check(address):
    parts = urllib.parse.urlsplit(address)
    local = parts.scheme == "http" and parts.hostname in LOCAL
    if parts.scheme != "https" and not local:
        raise ValueError(
            f"cannot download {address}: expected an https address (http only from this machine)"
        )


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, response, code, message, headers, address):
        _check(address)
        return super().redirect_request(request, response, code, message, headers, address)


def _download(address, part):
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            if _transfer(address, part):
                return
            problem = "the connection closed early"
        except urllib.error.HTTPError as error:
            error.close()
            raise OSError(f"cannot download {address}: the server says {error}") from error
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or repr(error)
    raise OSError(
        f"cannot download {address}: {problem} ({ATTEMPTS} attempts); "
        f"the same command resumes after the {_size(part)} bytes that are here"
    )


def _transfer(address, part):
    """Appends the missing part of a file; returns whether it is complete."""
    have = _size(part)
    # The version (ETag) of the part that is here; a file that has changed is sent from the start.
    tag = part.with_name(f"{part.name}.etag")
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})
    if have and tag.is_file():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text())
    opener = urllib.request.build_opener(_CheckedRedirects)
    with opener.open(request, timeout=TIMEOUT) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        version, length = response.headers["ETag"], response.headers["Content-Length"]
        if version:
            tag.write_text(version)
        with part.open("ab" if resumed else "wb") as file:
            expected = None if length is None else int(length) + (have if resumed else 0)
            while chunk := response.read(CHUNK):
                file.write(chunk)
    complete = expected is None or _size(part) == expected
    if complete:
        tag.unlink(missing_ok=True)
    return complete


def _size(file):
    return file.stat().st_size if file.is_file() else 0


def _sha256(file):
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
