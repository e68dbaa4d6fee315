"""Two processes that want one file get it both, whole, even if the first is killed."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

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
