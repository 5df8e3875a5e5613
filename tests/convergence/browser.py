"""A real browser, driven over the protocol of its developer tools."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

WITHIN = 30.0  # seconds; a busy machine starts a browser slowly


class Page:
    """One page of the browser: what it shows, and keys and clicks as a person gives them."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._number = connection, 0
        self.requested: list[str] = []
        self.said: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, address: str, ready: str = "document.querySelector('#view h1') !== null") -> None:
        self._call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && {ready}")

    def size(self, width: int, height: int) -> None:
        """The window, in pixels; below 500 as a phone."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def choose(self, selector: str, file: Path) -> None:
        """A person's choice of a file in the dialog that an input opens."""
        found = self._call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self._call("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])

    def drop(self, file: Path, x: int, y: int) -> None:
        """A file that is dragged from the desktop to a place of the page."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def screenshot(self, file: Path) -> None:
        """What is shown, as a PNG."""
        file.write_bytes(b64decode(self._call("Page.captureScreenshot")["data"]))

    def value(self, expression: str) -> Any:
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self) -> str:
        return self.value("document.getElementById('view').innerText")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            with suppress(AssertionError):
                if self.value(condition):
                    return
            time.sleep(0.02)
        raise AssertionError(f"never true within {WITHIN} s: {condition}")

    def click(self, link: str) -> None:
        """A click with the mouse on the first link with this text, then on to what it leads to."""
        # the page's own listeners run before this one: the address alone changes sooner than what is shown
        self.value("delete window.led; addEventListener('hashchange', () => { window.led = true; }, { once: true })")
        self.press_mouse(f"[...document.querySelectorAll('a')].find((a) => a.innerText === {json.dumps(link)})")
        self.wait("window.led === true")

    def press_mouse(self, element: str) -> None:
        """A click with the mouse on what a JavaScript expression finds."""
        place = (
            f"(() => {{ const a = {element}; a.scrollIntoView({{block: 'center'}}); return a.getClientRects()[0]; }})()"
        )
        x, y = (self.value(code) for code in (f"{place}.x + 3", f"{place}.y + 3"))
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        code = {"Enter": 13, "ArrowDown": 40, "Escape": 27}.get(key, ord(key[0].upper()))
        extra = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            given = extra if kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **given)

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=WITHIN))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"):
                self.said.append(json.dumps(answer["params"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of Chromium with a profile in `folder`; a machine without it skips, unless it is told not to."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI") or os.environ.get("CONVERGENCE_REQUIRE_SERVICES"):
            raise FileNotFoundError("no browser: install the package `chromium`")
        pytest.skip("no browser: the package `chromium` is one")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    ports = ["--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen([program, *options, *ports], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with connect(_address(folder, process), max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the first page can be driven, once the browser has said on which port it listens."""
    import urllib.request

    said, end = folder / "DevToolsActivePort", time.monotonic() + WITHIN
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, StopIteration, IndexError):
            port = said.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                return next(p["webSocketDebuggerUrl"] for p in json.load(answer) if p["type"] == "page")
        time.sleep(0.05)
    raise AssertionError(f"the browser was not there within {WITHIN} s, or ended: {process.poll()}")
