"""Files come from a server on this machine, which cuts connections on demand."""

import hashlib
import http.server
import logging
import threading

import pytest

from data_pipelines.downloads import web

CONTENT = bytes(range(256)) * 20


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `cuts` says after how many bytes each of the first answers ends."""

    def do_GET(self):
        state = self.server.state
        state["asked"].append(self.headers["Range"])
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://example.com/weights.pth")
            self.end_headers()
            return
        start = 0
        if self.headers["Range"] and self.headers["If-Range"] == state["version"]:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = state["content"][start:]
        self.send_response(206 if start else 200)
        if start:
            size = len(state["content"])
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", state["version"])
        self.end_headers()
        self.wfile.write(body[: state["cuts"].pop(0)] if state["cuts"] else body)

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.state = {"asked": [], "cuts": [], "version": '"1"', "content": CONTENT}
        running.state["address"] = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running.state
        running.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_its_sum_is_said(server, caplog):
    caplog.set_level(logging.INFO)
    address = f"{server['address']}/models/weights.pth?version=2"
    file = web.fetch(address)
    assert file.name == "weights.pth"
    assert file.read_bytes() == CONTENT
    assert hashlib.sha256(CONTENT).hexdigest() in caplog.text
    assert web.fetch(address) == file
    assert server["asked"] == [None]
    assert [child.name for child in file.parent.iterdir()] == ["weights.pth"]


def test_a_cut_connection_is_taken_up_where_it_broke(server):
    server["cuts"] = [1000, 500]
    assert web.fetch(f"{server['address']}/weights.pth").read_bytes() == CONTENT
    assert server["asked"] == [None, "bytes=1000-", "bytes=1500-"]


def test_the_next_command_goes_on_after_what_is_there(server):
    server["cuts"] = [100] * web.ATTEMPTS
    with pytest.raises(OSError, match=r"cannot download .*resumes after the 500 bytes"):
        web.fetch(f"{server['address']}/weights.pth")
    assert web.fetch(f"{server['address']}/weights.pth").read_bytes() == CONTENT
    assert server["asked"][-1] == "bytes=500-"


def test_a_file_that_changed_in_between_comes_anew(server):
    server["cuts"] = [100] * web.ATTEMPTS
    with pytest.raises(OSError, match="cannot download"):
        web.fetch(f"{server['address']}/weights.pth")
    server |= {"version": '"2"', "content": CONTENT[::-1]}
    assert web.fetch(f"{server['address']}/weights.pth").read_bytes() == CONTENT[::-1]


def test_what_cannot_be_fetched_is_one_message(server):
    with pytest.raises(OSError, match=r"cannot download .*HTTP Error 404: Not Found"):
        web.fetch(f"{server['address']}/missing.pth")
    with pytest.raises(OSError, match=r"cannot download .*refused.*5 attempts"):
        web.fetch("http://localhost:1/weights.pth")
    with pytest.raises(ValueError, match="does not name a file"):
        web.fetch("https://example.com/")


@pytest.mark.parametrize(
    "address", ["http://example.com/weights.pth", "ftp://127.0.0.1/a.pth", "file:///etc/passwd"]
)
def test_only_https_is_fetched_from_other_machines(address):
    with pytest.raises(ValueError, match="expected an https address"):
        web.fetch(address)


def test_a_redirect_cannot_lead_to_http(server):
    with pytest.raises(
        ValueError, match=r"cannot download http://example.com/weights.pth: expected an https"
    ):
        web.fetch(f"{server['address']}/away.pth")
