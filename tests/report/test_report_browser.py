"""The page in a real browser: everything is clicked, and the console and the network stay silent."""

import re
from pathlib import Path
from typing import Any

import browsing
import pytest
import synthetic
from browsing import opened

from agentcomm.report import build_report

pytestmark = browsing.MARKS
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = synthetic.cells([0, 1, 2])
    for row in rows:
        if row["attack"] and row["attack"]["name"] == "impersonate" and row["defense_label"] == "clip":
            row |= {"status": "failed", "error": "ValueError: <i>broken</i>"}
    return build_report(synthetic.write_run(tmp_path_factory.mktemp("runs") / "demo", rows=rows))


def test_heatmap_shows_each_measure_and_explains_its_cells(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        assert "steps with messages" in page.locator("h1").inner_text()
        cell = page.locator(".heat tbody tr:nth-child(6) td").first
        assert cell.locator(".face:visible b").inner_text().startswith("16.")
        assert cell.locator(".face:visible .seeds i").count() == 3
        assert "worse than without messages" in cell.inner_text()
        page.get_by_text("Damage", exact=True).click()
        assert cell.locator(".face:visible b").inner_text().startswith("9.")
        assert "control 0.9" in cell.inner_text()
        assert "silence 3." in cell.inner_text()
        page.get_by_text("Success of the attack", exact=True).click()
        assert cell.locator(".face:visible b").inner_text() == "0.60"
        page.get_by_text("Success of the team", exact=True).click()
        assert cell.locator(".face:visible b").inner_text().startswith("0.")
        cell.hover()
        tip = page.get_by_role("tooltip")
        assert "impersonate(victim=0)" in tip.inner_text()
        assert "accepted forged" in tip.inner_text()
        failed = page.locator(".heat td.failed")
        assert failed.count() == 1
        failed.focus()
        assert "<i>broken</i>" in tip.inner_text()
        page.keyboard.press("ArrowLeft")
        assert "\u00d7 authenticate" in tip.inner_text()
        page.keyboard.press("Escape")
        assert not tip.is_visible()
        for summary in page.locator("summary").all():
            summary.click()
        assert page.get_by_text("perception_agents: 2").is_visible()


def test_measure_is_chosen_by_keyboard(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        page.locator("input[name=measure]").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".heat").get_attribute("data-measure") == "m2"


def test_player_plays_steps_scrubs_and_selects(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        left, right = page.locator(".panel").all()
        choose = right.locator("select")
        assert left.locator("select option:checked").inner_text() == "clean"
        assert choose.locator("option:checked").inner_text() == "drop"
        assert left.locator(".status").inner_text().startswith("step 1 of ")
        assert right.locator(".message.dropped").count() > 0
        choose.select_option(label="replay")
        assert right.locator(".message.forged").count() == 3
        assert right.locator(".message.refused").count() == 0
        choose.select_option(label="replay + authenticate")
        assert right.locator(".message.refused").count() == 3
        assert "3 forged, refused by authenticate" in right.locator(".status").inner_text()
        saw = right.locator(".views tbody tr").first
        assert "does not see the prey" in saw.inner_text()
        assert "from C0: forged, refused by authenticate" in saw.inner_text()
        choose.select_option(label="noise")
        assert right.locator(".message.tampered").count() == 3
        page.get_by_role("button", name="Step forward").click()
        page.get_by_role("button", name="Step forward").click()
        page.get_by_role("button", name="Step back").click()
        assert right.locator(".status").inner_text().startswith("step 2 of ")
        page.get_by_role("slider", name="Step").fill("5")
        assert right.locator(".status").inner_text().startswith("step 6 of ")
        assert right.locator(".agent .closed:visible").count() == 2
        assert left.locator(".status").inner_text().startswith("finished after ")
        page.get_by_label("Scene").select_option(label="Scene 2")
        assert page.locator(".clock").inner_text().startswith("0 / ")
        assert choose.locator("option:checked").inner_text() == "noise"
        page.get_by_label("Speed").select_option(label="4\u00d7")
        page.get_by_role("button", name="Play").click()
        page.get_by_role("button", name="Pause").wait_for()
        sync_api.expect(page.locator(".clock")).to_have_text(re.compile(r"^(\d+) / \1$"), timeout=20_000)
        page.get_by_role("button", name="Play").wait_for()


def test_player_listens_to_the_keyboard(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        page.locator("[data-player]").focus()
        clock = page.locator(".clock")
        for key, step in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1"), ("Home", "0")):
            page.keyboard.press(key)
            assert clock.inner_text().split(" / ")[0] == step
        page.keyboard.press("End")
        at, of = clock.inner_text().split(" / ")
        assert at == of
        page.keyboard.press("Space")  # from the end it starts over
        sync_api.expect(clock).to_have_text(re.compile("^[1-9] /"))
        page.keyboard.press("Space")
        page.get_by_role("button", name="Play").wait_for()
        assert page.evaluate("document.activeElement.hasAttribute('data-player')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_fits_the_window_and_can_be_read(browser: Any, report: Path, width: int, scheme: str) -> None:
    with opened(browser, report, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(UNREADABLE) == []


def test_says_its_piece_without_scripts(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".heat .face:visible").count() > 20
    assert page.get_by_text("The player needs JavaScript").is_visible()
    context.close()


# Visible texts whose contrast with what is painted behind them is below 4.5 (WCAG 2, level AA).
UNREADABLE = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((x) => x / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const bad = [];
  for (const node of document.querySelectorAll("p, b, small, span, th, td, dt, dd, a, li, code, summary, h1, h2")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility()) continue;
    const behind = [];
    for (let at = node; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const ground = paint(behind);
    const ink = paint([...behind, getComputedStyle(node).color]);
    const [low, high] = [light(ground), light(ink)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) bad.push(`${node.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return bad;
}"""
