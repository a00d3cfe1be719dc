"""Serves the report of a run on this machine only: one page, for reading, to browsers that ask for it by its name."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agentcomm.base.errors import ConfigError
from agentcomm.base.text import reason
from agentcomm.report.live import LiveReport, Page

ADDRESS = "127.0.0.1"
PORT = 8760  # tried first, so that a page that is open finds a server that was started again
HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ReportServer(ThreadingHTTPServer):
    """Serves one live report.

    Args:
        report: The report.
        port: Port to listen on; 0 for any that is free.

    Attributes:
        hosts: Names by which browsers may ask for it. Another name in the header Host is one that a page from
            elsewhere has pointed to this machine in order to read what is served here (DNS rebinding).

    Raises:
        OSError: If the port cannot be used.
    """

    daemon_threads = True

    def __init__(self, report: LiveReport, port: int) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.report = report
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers that hang up are no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def open_server(run: Path, port: int | None = None) -> ReportServer:
    """A server for a run's report, whose ``serve_forever`` runs until it is interrupted.

    Args:
        run: Folder of the run, which may have no cells yet.
        port: Port to listen on, 0 for any that is free; None for 8760, or any that is free if that is in use.

    Raises:
        AgentcommError: If the run cannot be read, or the port cannot be used.
    """
    report = LiveReport(run)
    for wanted in (PORT, 0) if port is None else (port,):
        try:
            return ReportServer(report, wanted)
        except OSError as failed:
            if port is None and wanted and failed.errno == errno.EADDRINUSE:
                continue
            raise ConfigError(f"--port {wanted}: {reason(failed)}; --port 0 takes any free port") from None
        except OverflowError:
            break
    raise ConfigError(f"--port {port}: must be a number from 0 to 65535; --port 0 takes any free port")


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of ``/``."""

    server: ReportServer
    timeout = 10  # seconds for a request to arrive
    server_version, sys_version = "agentcomm", ""

    def do_GET(self) -> None:
        """Send the page, or say that it has not changed."""
        if self._refused():
            return
        page = self.server.report.page()
        known = [tag.strip().removeprefix("W/") for tag in self.headers.get("If-None-Match", "").split(",")]
        if page.tag in known:
            self._send(HTTPStatus.NOT_MODIFIED, b"", page)
        else:
            self._send(HTTPStatus.OK, page.body, page)

    def do_HEAD(self) -> None:
        """The same without the page itself."""
        self.do_GET()

    def do_POST(self) -> None:
        """Nothing can be changed."""
        if not self._refused():
            self._send(HTTPStatus.METHOD_NOT_ALLOWED, b"This page can only be read.\n")

    def _refused(self) -> bool:
        """Answer requests for another host or another path."""
        if self.headers.get_all("Host", []) not in [[name] for name in self.server.hosts]:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, f"This is {self.server.url}\n".encode())
        elif self.path.partition("?")[0] != "/":
            self._send(HTTPStatus.NOT_FOUND, f"There is only {self.server.url}\n".encode())
        else:
            return False
        return True

    def _send(self, status: HTTPStatus, body: bytes, page: Page | None = None) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", page.policy if page else "default-src 'none'")
        if page is not None:
            self.send_header("ETag", page.tag)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", f"text/{'html' if page else 'plain'}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: the page asks every two seconds."""


def serve(run: Path, port: int | None = None, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve a run's report until Ctrl-C, which is how it ends.

    Args:
        run: Folder of the run.
        port: As for :func:`open_server`.
        ready: Called with the page's address once it can be opened.

    Raises:
        AgentcommError: As for :func:`open_server`.
    """
    with open_server(run, port) as server:
        try:
            ready(server.url)
            server.serve_forever()
        except KeyboardInterrupt:
            return
