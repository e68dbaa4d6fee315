"""Chromium, driven through its debugging pipe: pages are opened, used and photographed."""

import base64
import contextlib
import functools
import http.server
import json
import os
import pathlib
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
PATIENCE = 120  # seconds for one answer
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def find_chromium() -> str:
    """The path of Chromium or Chrome; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"requires a browser: {' or '.join(NAMES)}")
    return found


@contextlib.contextmanager
def serve(folder: pathlib.Path, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Serves a folder on localhost; its address. `headers` are added to every answer."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.extra = headers or {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format, *args):
        pass


class Browser:
    """A headless browser with one page; a context manager."""

    def __init__(self, profile: pathlib.Path, *flags: str):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [find_chromium(), *FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"]
        # The browser reads its commands from descriptor 3 and answers on 4.
        shell = 'exec "$@" 3<&"$IN" 4>&"$OUT"'
        environment = {**os.environ, "IN": str(to_browser), "OUT": str(from_browser)}
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(to_browser, from_browser),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._rest, self._number, self._session = b"", 0, None
        self.log = []  # what pages and workers wrote to the console, and errors

    def __enter__(self):
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: object) -> dict:
        """The result of a method of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while (answer := self._receive(deadline)).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self, deadline):
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser did not answer; its log: {self.log}")
            piece = os.read(self._read, 2**20)
            if not piece:
                raise RuntimeError("the browser has ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            texts = [str(x.get("value", x.get("description"))) for x in parameters["args"]]
            self.log.append(" ".join(texts))
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.log.append(details.get("exception", {}).get("description", details["text"]))
        if event.get("method") == "Log.entryAdded":
            self.log.append(parameters["entry"]["text"])

    def run(self, script: str) -> object:
        """The value of a JavaScript expression, awaited where it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str, *, seconds: float = 60) -> object:
        """Waits until a JavaScript expression is true; returns its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(condition)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition} is {value!r} after {seconds} s; log: {self.log}")
            time.sleep(0.1)
        return value

    def open(self, address: str, *, width: int = 1280, height: int = 900, scale: float = 1) -> None:
        """Opens a page in a window of a size."""
        phone = {"mobile": width < 600, "deviceScaleFactor": scale}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **phone)
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def choose_file(self, selector: str, *files: pathlib.Path) -> None:
        """Gives files to an input element."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(file) for file in files], nodeId=node)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drags the mouse between two points of the window."""
        steps = (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end))
        for kind, (x, y) in steps:
            place = {"x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def swipe(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drags a finger between two points of the window."""
        for kind, points in (("touchStart", [start]), ("touchMove", [end]), ("touchEnd", [])):
            touches = [{"x": x, "y": y} for x, y in points]
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=touches)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key, named as in KeyboardEvent.key."""
        text = {"text": key} if len(key) == 1 else {}
        keys = {"key": key, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **keys, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def screenshot(self, file: pathlib.Path, *, whole: bool = False) -> None:
        """Writes a PNG of the window, or of the whole page."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))
