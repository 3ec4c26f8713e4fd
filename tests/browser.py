"""A headless Chromium, driven over its DevTools pipe: enough to open a page, ask it things and hear its complaints."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

QUIET = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--metrics-recording-only", "--no-default-browser-check", "--remote-debugging-pipe",
]  # fmt: skip
LOUD = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")


class Browser:
    """One page in one browser; ``complaints`` are its errors, ``requests`` the addresses it asked for."""

    def __init__(self, home: Path) -> None:
        """Start with a profile of its own in ``home``."""
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        words = [shutil.which("chromium"), *QUIET, f"--user-data-dir={home}", "--window-size=1100,900", "about:blank"]
        # The pipe is at descriptors 3 and 4.
        moved = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", moved, "browser", *words],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(home)},
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._unread = 0, b""
        self.complaints: list[dict] = []
        self.requests: list[str] = []
        self._loaded = False
        self._session: str | None = None
        (page,) = [one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.write(self._out, b'{"id":0,"method":"Browser.close"}\0')
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, heard
                return heard["result"]

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self._loaded, self.requests, self.complaints = False, [], []
        self.send("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._hear()

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def dark(self, on: bool) -> None:
        """Prefer dark or light."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def _hear(self, limit_s: float = 30) -> dict[str, Any]:
        """Return the next message, after noting what it tells."""
        end = time.monotonic() + limit_s
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser says nothing"
            got = os.read(self._in, 1 << 20)
            assert got, "the browser is gone"
            self._unread += got
        line, _, self._unread = self._unread.partition(b"\0")
        heard = json.loads(line)
        method = heard.get("method")
        if method in LOUD:
            self.complaints.append(heard["params"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(heard["params"]["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True
        return heard
