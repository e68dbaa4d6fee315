"""Odd answers of servers, sent byte for byte: a download is whole, or there is one message."""

import contextlib
import hashlib
import logging
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from data_pipelines.downloads import cache, checksums, locks, web

CONTENT = bytes(range(256)) * 20
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def answer(status, body=b"", **headers):
    """The bytes of an answer; underscores in the names of headers are hyphens."""
    lines = [f"HTTP/1.1 {status} X", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def whole(content=CONTENT, **headers):
    return answer(200, content, Content_Length=len(content), **headers)


def cut(size=1000, etag='"1"'):
    """The first bytes of CONTENT; then the connection closes."""
    return answer(200, CONTENT[:size], Content_Length=SIZE, ETag=etag)


def rest(body=CONTENT[1000:], content_range=f"bytes 1000-{SIZE - 1}/{SIZE}", etag='"1"'):
    headers = {"Content_Range": content_range, "ETag": etag, "Content_Length": len(body)}
    return answer(206, body, **{name: x for name, x in headers.items() if x})


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A function that answers connections in turn; it returns the address and the requests."""
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "cache"))
    listener, stopped = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def start(*answers):
        requests = []

        def run():
            with contextlib.suppress(OSError):  # the test is over
                for text in answers:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(ConnectionError):
                        requests.append(connection.recv(65536).decode())
                        connection.sendall(text or b"")
                        if text is None:
                            stopped.wait(30)

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/weights.pth", requests

    yield start
    stopped.set()
    listener.close()


MISFITS = {
    "another start": rest(CONTENT[500:], f"bytes 500-{SIZE - 1}/{SIZE}"),
    "a smaller total": rest(CONTENT[1000:2000], "bytes 1000-1999/2000"),
    "a larger total": rest(CONTENT[1000:], f"bytes 1000-{SIZE - 1}/{SIZE + 9}"),
    "no total": rest(CONTENT[1000:], f"bytes 1000-{SIZE - 1}/*"),
    "no Content-Range": rest(content_range=""),
    "another version": rest(etag='"2"'),
    "no version": rest(etag=""),
    "too short a body": rest(CONTENT[1000:3000]),
    "not satisfiable": answer(416, Content_Range=f"bytes */{SIZE}", Content_Length=0),
    "the whole file": whole(ETag='"1"'),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_part_that_does_not_fit_is_dropped_and_the_file_comes_whole(serve, name):
    address, requests = serve(cut(), MISFITS[name], whole())
    assert web.fetch(address).read_bytes() == CONTENT
    assert "Range: bytes=1000-" in requests[1]
    assert all("Range" not in request for request in requests[2:])


def test_a_part_that_is_complete_or_too_long_is_dropped(serve):
    for content in (CONTENT, CONTENT + b"more"):
        address, requests = serve(whole())
        place = pathlib.PurePath("files", hashlib.sha256(address.encode()).hexdigest()[:12])
        file = cache.make(place / "weights.pth")
        file.unlink(missing_ok=True)
        file.with_name("weights.pth.part").write_bytes(content)
        file.with_name("weights.pth.part.version").write_text(f'"1"\n{SIZE}\n')
        assert web.fetch(address).read_bytes() == CONTENT
        assert "Range" not in requests[0]
        assert [x.name for x in file.parent.iterdir()] == ["weights.pth"]


def test_a_version_that_cannot_be_sent_back_is_not_resumed(serve):
    for etag in ("", 'W/"1"', '"\xe9"'):
        address, requests = serve(cut(etag=etag), whole())
        assert web.fetch(address).read_bytes() == CONTENT
        assert "Range" not in requests[1]
        web.fetch(address).unlink()


def test_a_date_is_a_version(serve):
    date = "Wed, 08 Jul 2020 10:00:00 GMT"
    first = answer(200, CONTENT[:1000], Content_Length=SIZE, Last_Modified=date)
    body = {"Content_Range": f"bytes 1000-{SIZE - 1}/{SIZE}", "Last_Modified": date}
    address, requests = serve(first, answer(206, CONTENT[1000:], **body))
    assert web.fetch(address).read_bytes() == CONTENT
    assert f"If-Range: {date}" in requests[1].replace("If-range", "If-Range")


CHUNKED = b"%x\r\n%s\r\n" % (SIZE, CONTENT)


def test_a_chunked_transfer_must_end_properly(serve):
    broken = answer(200, CHUNKED, Transfer_Encoding="chunked")
    address, _ = serve(
        broken, broken, answer(200, CHUNKED + b"0\r\n\r\n", Transfer_Encoding="chunked")
    )
    assert web.fetch(address).read_bytes() == CONTENT


def test_without_a_length_the_sha256_must_be_known(serve):
    address, _ = serve(answer(200, CONTENT), answer(200, CONTENT[:-1]), answer(200, CONTENT))
    with pytest.raises(OSError, match=r"does not say how long the file is. Add #sha256="):
        web.fetch(address)
    with pytest.raises(OSError, match=rf"its SHA-256 is .*, expected {SHA256}"):
        web.fetch(f"{address}#sha256={SHA256}")
    assert web.fetch(f"{address}#sha256={SHA256}").read_bytes() == CONTENT


def test_a_required_sha256_is_compared_also_in_the_cache(serve):
    address, _ = serve(whole(CONTENT[::-1]), whole(), whole())
    assert web.fetch(address).read_bytes() == CONTENT[::-1]
    assert web.fetch(f"{address}#sha256={SHA256[:8].upper()}").read_bytes() == CONTENT
    with pytest.raises(OSError, match="expected 00000000"):
        web.fetch(f"{address}#sha256=00000000")
    assert web.fetch(address).read_bytes() == CONTENT
    with pytest.raises(ValueError, match=r"asks for the SHA-256 '12'; expected its first 8 to 64"):
        web.fetch(f"{address}#sha256=12")


def test_a_resumed_mixture_is_fetched_anew(serve):
    other = rest(CONTENT[1000:][::-1])
    address, _ = serve(cut(), other, whole())
    assert web.fetch(f"{address}#sha256={SHA256}").read_bytes() == CONTENT


def test_digits_in_a_published_name_are_required(serve):
    address, _ = serve(whole(), whole(), whole())
    folder = address.removesuffix("weights.pth")
    assert web.fetch(f"{folder}hrnet_w32-{SHA256[:8]}_20200708.pth").read_bytes() == CONTENT
    with pytest.raises(OSError, match=rf"its SHA-256 is {SHA256}, expected c63dc769"):
        web.fetch(f"{folder}hrnet_w32_20200708-c63dc769.pth")
    named = f"{folder}hrnet_w32_20200708-c63dc769.pth#sha256={SHA256[:8]}"
    assert web.fetch(named).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet50-0676ba61.pth", "0676ba61"),
        ("hrnet_w32_coco_256x192-c78dce93_20200708.pth", "c78dce93"),
        ("td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth", "81c58e40"),
        ("top_down_20200708-c63dc769.pth.tar", "c63dc769"),
        ("hrnet_w32_256x192.pth", ""),
        ("model-20200708.pth", ""),
        ("model-best.pth", ""),
    ],
)
def test_names_that_give_their_sha256(name, digits):
    assert checksums.promised(name) == digits


def test_an_empty_file_is_refused(serve):
    address, _ = serve(whole(b""), whole())
    with pytest.raises(OSError, match=r"cannot download .* sends an empty file"):
        web.fetch(address)
    assert web.fetch(address).read_bytes() == CONTENT


def test_an_address_that_cannot_be_is_one_message(serve):
    address, _ = serve(answer(302, Location="http://[::1", Content_Length=0))
    for wrong in (address, "https://[::1/w.pth"):
        with pytest.raises(ValueError, match=r"cannot download .*Invalid IPv6 URL"):
            web.fetch(wrong)


@pytest.mark.parametrize(
    "page",
    [
        whole(b"<!DOCTYPE html><title>Sign in</title>"),
        whole(b"Sign in", Content_Type="text/html; charset=utf-8"),
    ],
)
def test_a_page_is_not_a_file(serve, page):
    address, _ = serve(page, whole())
    with pytest.raises(OSError, match=r"cannot download .* sends a page \(HTML\), not a file"):
        web.fetch(address)
    assert web.fetch(address).read_bytes() == CONTENT


def test_a_file_larger_than_the_disk_is_refused_before_a_byte_is_written(serve):
    address, _ = serve(answer(200, CONTENT, Content_Length=10**15))
    with pytest.raises(OSError, match=r"1000000000000000 bytes, and .* has \d+ free"):
        web.fetch(address)


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/a", "http://example.com/a"])
def test_redirects_lead_to_https_only(serve, to):
    address, _ = serve(answer(302, Location=to, Content_Length=0))
    with pytest.raises((OSError, ValueError), match=r"cannot download"):
        web.fetch(address)


def test_the_web_cannot_lead_to_this_machine():
    with pytest.raises(ValueError, match=r"https://example.com/a leads to this machine"):
        web._check("http://localhost/a", "https://example.com/a")


def test_a_redirect_in_a_circle_is_one_line(serve):
    address, _ = serve(*[answer(302, Location="/weights.pth", Content_Length=0)] * 12)
    with pytest.raises(OSError, match=r"cannot download .*redirect") as caught:
        web.fetch(address)
    assert "\n" not in str(caught.value)


def test_a_server_that_hangs_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(web, "TIMEOUT", 0.2)
    address, _ = serve(*[None] * web.ATTEMPTS)
    with pytest.raises(OSError, match=r"timed out.* \(2 attempts\); try again later"):
        web.fetch(address)


def test_a_server_that_trickles_is_given_up(serve, monkeypatch):
    clock = iter(range(0, 10**6, 50))
    monkeypatch.setattr(web.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(web, "CHUNK", 10)
    address, _ = serve(*[whole()] * web.ATTEMPTS)
    with pytest.raises(OSError, match=r"bytes in \d+ seconds"):
        web.fetch(address)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://a.org/w.pth?x=../../y", "w.pth"),
        ("https://a.org/a%20b.pth", "a_b.pth"),
        ("https://a.org/%2e%2e%2f%2e%2e%2fw.pth", "_.._w.pth"),
        ("https://a.org/w%00.pth", "w_.pth"),
        ("https://a.org/a/..", ""),
        ("https://a.org/a/%2e%2e", ""),
        ("https://a.org/.hidden.pth", "hidden.pth"),
        (f"https://a.org/{'w' * 300}.pth", f"{'w' * 96}.pth"),
        (f"https://a.org/{'%C3%A9' * 300}.pth", f"{'_' * 96}.pth"),
        ("https://a.org/a\\..\\w.pth", "a_.._w.pth"),
    ],
)
def test_names_stay_inside_the_cache(address, name):
    assert cache.file_name(address) == name


def test_a_cache_that_cannot_be_used_is_replaced_by_a_temporary_one(
    serve, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "blocked").write_text("a file where a folder should be")
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "blocked" / "cache"))
    address, _ = serve(whole())
    file = web.fetch(address)
    assert file.is_relative_to(tmp_path / f"hrjax-{os.getuid()}")
    assert stat.S_IMODE((tmp_path / f"hrjax-{os.getuid()}").stat().st_mode) == 0o700
    assert f"downloads are kept in {tmp_path}/hrjax-" in caplog.text
    assert web.fetch(address) == file


def test_without_a_home_the_cache_is_temporary(tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HRJAX_CACHE", raising=False)
    monkeypatch.setattr(cache.pathlib.Path, "home", no_home)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    assert cache.make(pathlib.PurePath("files/a/w.pth")).is_relative_to(tmp_path)


def test_a_folder_that_another_user_put_there_is_not_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("HRJAX_CACHE", "/dev/null/cache")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"hrjax-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"no folder for downloads: .*; set HRJAX_CACHE"):
        cache.make(pathlib.PurePath("files/a/w.pth"))


def test_a_disk_without_locks_gives_every_process_a_part_of_its_own(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(locks.errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    with cache.partial(tmp_path / "w") as one, cache.partial(tmp_path / "w") as two:
        assert one != two


def test_a_holder_that_makes_no_progress_does_not_block_others(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cache, "PATIENCE", 0.3)
    with cache.partial(tmp_path / "w") as one, cache.partial(tmp_path / "w") as two:
        assert one != two
    assert f"waiting for process {os.getpid()}, which has w" in caplog.text
    assert list(tmp_path.glob("*")) == [tmp_path / "w.lock"] or not list(tmp_path.glob("*"))


SLOW_SERVER = """
import http.server, pathlib, sys, time
content = pathlib.Path(sys.argv[1]).read_bytes()
class Slow(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0] or 0)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        for place in range(start, len(content), len(content) // 20 + 1):
            self.wfile.write(content[place : min(len(content), place + len(content) // 20 + 1)])
            time.sleep(0.05)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
print(server.server_port, flush=True)
server.serve_forever()
"""
FETCH = """
import sys
from data_pipelines.downloads import web
print(web.checksums.compute(web.fetch(sys.argv[1])))
"""


def test_a_killed_download_does_not_block_the_next(tmp_path):
    run_pair(tmp_path, number=0, kill_after=0.3)


@pytest.mark.long
def test_ten_pairs_of_processes_get_one_file_whole(tmp_path):
    for number in range(10):
        run_pair(tmp_path, number, kill_after=None if number % 2 else 0.1 * number)


def run_pair(tmp_path, number, kill_after):
    """Two processes fetch one file; the first may be killed in the middle, and comes again."""
    content = bytes([number]) + os.urandom(2_000_000)
    (tmp_path / "content").write_bytes(content)
    environment = os.environ | {"HRJAX_CACHE": str(tmp_path / f"cache{number}")}
    python = [sys.executable, "-c"]
    server = subprocess.Popen([*python, SLOW_SERVER, tmp_path / "content"], stdout=subprocess.PIPE)
    address = f"http://127.0.0.1:{int(server.stdout.readline())}/w.npz"

    def fetch():
        command = [*python, FETCH, address]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    try:
        processes = [fetch(), fetch()]
        if kill_after is not None:
            part = tmp_path / f"cache{number}" / "files"
            while not list(part.glob("*/*.part")):
                time.sleep(0.01)
            time.sleep(kill_after)
            processes[0].send_signal(signal.SIGKILL)
            processes[0].communicate()
            processes = [processes[1], fetch()]
        sums = [process.communicate(timeout=60)[0].strip() for process in processes]
    finally:
        server.kill()
        server.communicate()
    assert sums == [hashlib.sha256(content).hexdigest()] * 2
    assert [x.name for x in (tmp_path / f"cache{number}").glob("files/*/*")] == ["w.npz"]
