"""The server of a live report: who may ask, what changes when the run goes on, and how it ends."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic

from agentcomm.base.errors import ConfigError, FileError
from agentcomm.report import live
from agentcomm.report.live import LiveReport, keep_current, waiting_page
from agentcomm.report.load import load_run
from agentcomm.report.serve import ReportServer, open_server, serve


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are rebuilt as soon as files change."""
    monkeypatch.setattr(live, "PAUSE", 0.0)
    monkeypatch.setattr(live, "SHARE", 0.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that is still training: no cells."""
    folder = synthetic.write_run(tmp_path / "young", seeds=(0,))
    (folder / "cells.jsonl").unlink()
    return folder


@pytest.fixture
def server(run: Path) -> Iterator[ReportServer]:
    with open_server(run, 0) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: ReportServer, method: str = "GET", path: str = "/", **headers: str) -> tuple[Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_only_this_machine_may_read_one_page(server: ReportServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    answer, page = ask(server)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "No team" in page or "trained" in page
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    name = f"localhost:{server.server_port}"
    assert ask(server, Host=name)[0].status == 200
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", "localhost:1"):
        answer, text = ask(server, Host=host)
        assert answer.status == 421, host
        assert "<h1>" not in text
    for path in ("/config.yaml", "/../config.yaml", "//x", "/cells.jsonl"):
        assert ask(server, path=path)[0].status == 404, path
    assert ask(server, path="/?a=b")[0].status == 200
    for method, status in (("POST", 405), ("PUT", 501), ("DELETE", 501)):
        assert ask(server, method)[0].status == status
    answer, text = ask(server, "HEAD")
    assert (answer.status, text) == (200, "")


def test_pages_that_have_not_changed_are_not_sent_again(server: ReportServer) -> None:
    tag = ask(server)[0].headers["ETag"]
    for known in (tag, f'"other", W/{tag}'):
        answer, text = ask(server, If_None_Match=known)
        assert (answer.status, text) == (304, "")
    assert ask(server, If_None_Match='"other"')[0].status == 200


def test_the_page_follows_the_run(server: ReportServer, run: Path) -> None:
    first, page = ask(server)
    assert "This run has no evaluated cell yet" in page
    assert "team-0" in page
    assert "409,600 of 400,000" in page
    assert "Episode length" in page  # learning curves
    rows = synthetic.cells([0])
    lines = [json.dumps(row) for row in rows]
    (run / "cells.jsonl").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:100])  # the last line is being written
    second, page = ask(server)
    assert second.headers["ETag"] != first.headers["ETag"]
    assert 'class="heat"' in page
    assert f"{len(lines) - 1} cells evaluated" in page
    assert "could not be read" not in page
    (run / "cells.jsonl").write_text("\n".join(lines) + "\n")
    assert f"{len(lines)} cells evaluated" in ask(server)[1]
    (run / "cells.jsonl").write_text("\n".join([*lines, "{broken", ""]))
    assert "1 line of cells.jsonl could not be read" in ask(server)[1]


def test_a_run_that_becomes_unreadable_keeps_its_last_page(server: ReportServer, run: Path) -> None:
    before = ask(server)[1]
    progress = run / "teams" / "team-0" / "progress.jsonl"
    progress.rename(run / "elsewhere")
    progress.symlink_to(run / "elsewhere")
    (run / "cells.jsonl").mkdir()
    assert ask(server)[1] == before
    (run / "cells.jsonl").rmdir()
    progress.unlink()
    assert ask(server)[0].status == 200


def test_pages_are_built_seldom_while_files_keep_changing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE", 60.0)
    report = LiveReport(run)
    before = report.page()
    synthetic.write_cells(run, synthetic.cells([0]))
    assert report.page() is before


def test_progress_is_told_by_team(run: Path) -> None:
    page = waiting_page(load_run(run, live=True))
    assert "All teams are trained" in page
    path = run / "teams" / "control-0" / "progress.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:50]) + "\n" + lines[50][:40])
    data = load_run(run, live=True)
    assert "1 of 2 teams are trained" in waiting_page(data)
    assert live.status(data) == "control-0: 51% trained, 1 team to go"
    path.unlink()
    assert "<td>0%</td>" in waiting_page(load_run(run, live=True))
    (run / "config.yaml").write_text("seeds: {a: b}\ntraining: [1]\nname: <b>x</b>\n")
    assert "<b>x" not in waiting_page(load_run(run, live=True))


def test_the_script_is_the_only_one_that_is_added(run: Path) -> None:
    page = keep_current(waiting_page(load_run(run, live=True)), "</script> & more", 0)
    text = page.body.decode()
    assert "&lt;/script&gt; &amp; more" in text
    assert len(re.findall(r"script-src (?:'sha256-[^']+' ?)+;", page.policy)) == 1
    assert "connect-src 'self'" in page.policy
    assert page.policy.removesuffix("; frame-ancestors 'none'") in text


def test_ports_and_folders_that_cannot_be_served(run: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: Address already in use; --port 0 takes any free port"):
            open_server(run, port)
    with pytest.raises(ConfigError, match="from 0 to 65535"):
        open_server(run, 70000)
    (run / "cells.jsonl").mkdir()
    with pytest.raises(FileError, match=r"cells\.jsonl cannot be read: it is a folder"):
        open_server(run, 0)


def test_ctrl_c_ends_it_without_a_trace(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: ReportServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ReportServer, "serve_forever", interrupted)
    told: list[str] = []
    serve(run, 0, told.append)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", told[0])
