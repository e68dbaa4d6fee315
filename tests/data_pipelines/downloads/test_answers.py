"""Odd answers of servers, sent byte for byte: a download is whole, or there is one message."""

import contextlib
import hashlib
import pathlib
import socket
import threading

import pytest

from data_pipelines.downloads import cache, web

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
