"""``kacap live --metrics`` and ``--textfile``: a watch as Prometheus sees it, served or written to a file."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app

from kacap.commands.telling import tell
from kacap.errors import KacapError, UsageError
from kacap.outputs import output
from kacap.report.metrics import Exposition, Snapshot

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

LOOPBACK, PATH = "127.0.0.1", "/metrics"
WRITE_EVERY_S = 15.0
REQUEST_S = 5.0  # a request that takes longer is given up


class _Request(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: stderr belongs to the watch."""


class _Server(WSGIServer):
    """Serves one request at a time, so that nobody can make threads or memory grow."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a client that went away."""

    def server_bind(self) -> None:
        """Bind without asking for the name of this host, as the class above would."""
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "kacap", self.server_address[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of ``[ADDRESS:]PORT``, the host numeric or a name. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise UsageError(f"--metrics {text}: write PORT, ADDRESS:PORT or [IPV6]:PORT, for example 9464")
    if text.startswith(":"):
        raise UsageError(f"--metrics {text}: which address? PORT alone is the loopback, 0.0.0.0:{port} is every one")
    return host.strip("[]") or LOOPBACK, int(port)


class Served:
    """An open port that answers GET /metrics once ``start`` was called, and 404 to everything else."""

    def __init__(self, text: str) -> None:
        """Listen at ``[ADDRESS:]PORT``. Raises UsageError, KacapError."""
        host, port = address_of(text)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            kind = _Server6 if family == socket.AF_INET6 else _Server
            self.server = kind((host, port), _Request)
        except OSError as error:
            raise KacapError(f"--metrics {text}: cannot listen there: {error.strerror or error}") from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server.server_port}{PATH}"

    def start(self, registry: CollectorRegistry) -> None:
        """Serve a registry, in a thread of its own."""
        metrics = make_wsgi_app(registry)

        def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == PATH:
                return metrics(environ, start)  # type: ignore[no-any-return]
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"only /metrics is served here\n"]

        self.server.set_app(answer)
        threading.Thread(target=self.server.serve_forever, name="kacap-metrics", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()


class Written:
    """A file that is replaced by a new one every quarter of a minute, whole or not at all, and once more at the end."""

    def __init__(self, path: str) -> None:
        self._path, self._stop, self._failed = path, threading.Event(), False
        self._thread: threading.Thread | None = None

    def start(self, registry: CollectorRegistry) -> None:
        """Write a registry, in a thread of its own."""
        self._registry = registry
        self._thread = threading.Thread(target=self._run, name="kacap-textfile", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._write()
            if self._stop.wait(WRITE_EVERY_S):
                return self._write()

    def _write(self) -> None:
        """Write the file; a failure is told once, and the next attempt comes when it is due."""
        try:
            with output(self._path) as out:
                out.write(generate_latest(self._registry))
            self._failed = False
        except (KacapError, OSError) as error:
            if not self._failed:
                tell(f"kacap: --textfile {error}; trying again every {WRITE_EVERY_S:g} s")
            self._failed = True

    def close(self) -> None:
        """Write it for the last time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()


class Metrics:
    """What is served and written; ``lock`` is to be held while what ``look`` returns may change."""

    def __init__(self, port: str | None, path: str | None) -> None:
        """Open the port. Raises UsageError, KacapError."""
        served = Served(port) if port is not None else None
        written = Written(path) if path is not None else None
        self._ways: list[Served | Written] = [way for way in (served, written) if way is not None]
        self.url = served.url if served is not None else None
        self.lock = threading.Lock()

    def start(
        self, look: Callable[[], Snapshot], census: Callable[[], dict[tuple[str, ...], int] | None], *, by_process: bool
    ) -> None:
        """Begin to answer: ``look`` is called with the lock held, ``census`` without."""
        registry = CollectorRegistry()
        registry.register(Exposition(look, census, self.lock, by_process=by_process))
        for way in self._ways:
            way.start(registry)

    def close(self) -> None:
        """End all of it."""
        for way in self._ways:
            way.close()
