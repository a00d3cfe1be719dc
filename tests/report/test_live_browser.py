"""A live page in a real browser: it renews itself, and the reader stays where he was."""

import threading
from pathlib import Path
from typing import Any

import browsing
import pytest
import synthetic
from browsing import opened

from agentcomm.report import live
from agentcomm.report.serve import open_server

pytestmark = browsing.MARKS


def test_new_cells_appear_without_moving_the_reader(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PAUSE", 0.0)
    monkeypatch.setattr(live, "SHARE", 0.0)
    rows = synthetic.cells([0])
    run = synthetic.write_run(tmp_path / "live", seeds=(0,), rows=rows[:-6])
    with open_server(run, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with opened(browser, server.url) as page:
            assert f"{len(rows) - 6} cells evaluated" in page.locator("[data-live]").inner_text()
            player = page.locator("[data-player]")
            player.get_by_label("Scene").select_option(label="Scene 2")
            right = player.get_by_label("Recording shown right")
            right.select_option(label="replay + authenticate")
            player.get_by_role("slider", name="Step").fill("3")
            page.get_by_text("Success of the team", exact=True).click()
            page.locator("#made summary").last.click()
            player.get_by_role("slider", name="Step").focus()
            page.evaluate("getSelection().selectAllChildren(document.querySelector('#player-title'))")
            synthetic.write_cells(run, rows)
            page.get_by_text("newer results follow").wait_for()  # nothing is taken from who marks text
            top = page.locator("#player").bounding_box()["y"]
            page.evaluate("getSelection().removeAllRanges()")
            page.get_by_text(f"{len(rows)} cells evaluated").wait_for()
            player.get_by_role("slider", name="Step").wait_for()
            assert player.get_by_label("Scene").locator("option:checked").inner_text() == "Scene 2"
            assert right.locator("option:checked").inner_text() == "replay + authenticate"
            assert page.locator(".clock").inner_text().startswith("3 / ")
            assert page.locator(".heat").get_attribute("data-measure") != "m1"
            assert page.locator("#made details").last.get_attribute("open") is not None
            assert page.evaluate("document.activeElement.ariaLabel") == "Step"
            assert page.locator("#player").bounding_box()["y"] == pytest.approx(top, abs=2)
        server.shutdown()
        thread.join()
