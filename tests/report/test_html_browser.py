"""The HTML report in Chromium: what its accessibility tree says, what keys and the pointer do, how it prints."""

from __future__ import annotations

import base64
import io
import json

import pytest
import samples
from browser import Browser

import kacap
from kacap.report.html import render

pytestmark = [pytest.mark.tool("chromium"), pytest.mark.slow]


@pytest.fixture(scope="module")
def opened(captures, tmp_path_factory):
    """A browser with the report of forty connections, twelve of them dead."""
    home = tmp_path_factory.mktemp("browser")
    analysis = kacap.read(str(captures / "lab" / "many" / "capture.pcapng"), marks=True)
    out = io.BytesIO()
    render(analysis, out)
    page = home / "report.html"
    page.write_bytes(out.getvalue())
    with Browser(home / "profile") as browser:
        browser.open(page)
        yield browser, analysis


def tree(browser) -> list[tuple[str, str, str]]:
    """Return (role, name, value) of every node that assistive software hears of."""
    browser.send("Accessibility.enable")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    return [
        tuple(node.get(part, {}).get("value", "") for part in ("role", "name", "value"))
        for node in nodes
        if not node.get("ignored")
    ]


def test_the_headline_is_the_verdict_and_its_mood_is_a_word(opened):
    browser, _ = opened
    headings = [name for role, name, _ in tree(browser) if role == "heading"]
    assert headings[0].startswith("✕ FAILED 12 of 40 connections gave up between 11:22:12 and 11:22:23 UTC")
    assert headings.index("Findings") < headings.index("Charts") < headings.index("Connections")
    told = "12 connections to 10.2.0.3:12345 gave up: the peer is gone or cut off"  # the gravest cause, once for all
    assert sum(name.startswith(told) for name in headings) == 1
    links = [name for role, name, _ in tree(browser) if role == "link"]
    assert {"Charts", "Verdicts", "Connections (40)"} <= set(links)


def test_a_link_of_a_finding_opens_its_connection_and_keys_go_from_probe_to_probe(opened):
    browser, analysis = opened
    number = next(one.connection for one in analysis.findings if one.id == "peer-gone")
    browser.ask(f"location.hash = '#connection-{number}'")
    browser.ask("new Promise(done => setTimeout(done, 200))")
    slider = "document.querySelector('svg.line')"
    browser.ask(f"{slider}.focus()")
    press = "{}.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}'}}))"
    browser.ask(press.format(slider, "ArrowRight"))
    (said,) = [(name, value) for role, name, value in tree(browser) if role == "slider"]
    probers = next(c.probers for c in analysis.connections if c.connection == number)
    second = probers[0].episodes[0].probes[1]
    assert said[0].startswith(f"probes of {probers[0].side}: arrow keys")
    shown = browser.ask("document.querySelector('.readout').textContent")
    assert shown.startswith(f"frame {second.frame.number} · 2026-11-20 11:22:")
    assert " · gap " in shown and " · due " in shown and shown.endswith(" · not answered")
    browser.ask("navigator.clipboard.writeText = (words) => { window.copied = words; return Promise.resolve(); }")
    browser.ask(press.format(slider, "Enter"))
    assert browser.ask("window.copied") == f"frame.number == {second.frame.number}"
    before = browser.ask(f"{slider}.querySelectorAll('text').item(3)?.textContent")
    browser.ask(press.format(slider, "+"))
    assert browser.ask(f"{slider}.querySelectorAll('text').item(3)?.textContent") != before


def test_the_pointer_names_the_nearest_probe_copies_its_frame_and_drags_a_zoom(opened):
    browser, analysis = opened
    number = next(one.connection for one in analysis.findings if one.id == "peer-gone")
    browser.ask("location.hash = ''")
    browser.ask(f"location.hash = '#connection-{number}'")
    browser.ask("new Promise(done => setTimeout(done, 200))")
    browser.ask("navigator.clipboard.writeText = (words) => { window.copied = words; return Promise.resolve(); }")
    shown = "document.querySelector('.readout').textContent"
    box = json.loads(browser.ask("JSON.stringify(document.querySelector('svg.line').getBoundingClientRect())"))
    sent = next(c.probers[0] for c in analysis.connections if c.connection == number).episodes[0].probes

    def mouse(kind, share, **more):
        at = {"x": box["left"] + box["width"] * share, "y": box["top"] + box["height"] / 2}
        browser.send("Input.dispatchMouseEvent", type=kind, **at, **more)

    pressed = {"button": "left", "buttons": 1, "clickCount": 1}
    for share, probe in ((0.98, sent[-1]), (0.1, sent[0])):
        mouse("mouseMoved", share)
        assert browser.ask(shown).startswith(f"frame {probe.frame.number} ")
    mouse("mousePressed", 0.1, **pressed)
    mouse("mouseReleased", 0.1, **pressed)
    assert browser.ask("window.copied") == f"frame.number == {sent[0].frame.number}"
    ends = "[...document.querySelectorAll('svg.line text')].slice(-2).map(text => text.textContent)"
    whole = browser.ask(ends)
    mouse("mousePressed", 0.3, **pressed)
    mouse("mouseMoved", 0.6, buttons=1)
    mouse("mouseReleased", 0.6, **pressed)
    part = browser.ask(ends)
    assert whole[0] < part[0] <= part[1] < whole[1]


def test_rows_are_filtered_by_status_and_the_boxes_say_whether_they_are_ticked(opened):
    browser, _ = opened
    box = "document.querySelector('#find input[value=\"gave up\"]')"
    browser.ask(f"{box}.click()")
    assert browser.ask("document.getElementById('found').textContent") == "12 of 48"
    assert ("checkbox", "gave up (12)") in [(role, name) for role, name, _ in tree(browser)]
    assert browser.ask("document.querySelector('#find :checked').value") == "gave up"
    browser.ask(f"{box}.click()")
    assert browser.ask("document.getElementById('found').textContent") == "48 of 48"


def test_every_embedded_probe_is_a_probe_of_the_capture(opened):
    browser, analysis = opened
    script = """
      (() => { const data = JSON.parse(document.getElementById('data').textContent);
        return JSON.stringify(data.rows.map(row => [row[0][1], row[1], row[3][1]])); })()
    """
    rows = json.loads(browser.ask(script))
    assert sum(probes for _, _, probes in rows) == len(analysis.probes)
    assert {(number, side) for number, side, _ in rows} == {
        (c.connection, str(p.side)) for c in analysis.connections for p in c.probers
    }


@pytest.mark.parametrize(("paper", "width"), [("A4", 703), ("Letter", 725)])
def test_nothing_is_cut_on_paper(opened, paper, width):
    browser, _ = opened
    browser.send("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        cut = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        assert browser.ask(f"{cut}.length") == 0
        assert browser.ask("getComputedStyle(document.querySelector('.chart')).breakInside") == "avoid"
        assert browser.ask("getComputedStyle(document.querySelector('header')).position") == "static"
        assert browser.ask("getComputedStyle(document.querySelector('th button')).display") == "none"
        heads = "[...document.querySelectorAll('#table th')].map(th => getComputedStyle(th, '::before').content)"
        assert browser.ask(f"{heads}[1]") == '"prober"'  # a head that holds a button is not repeated on each page
        shot = browser.send("Page.captureScreenshot")
        assert base64.b64decode(shot["data"]).startswith(b"\x89PNG")
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_a_murdered_connection_is_not_headed_as_fine(captures):
    for case in ("crafted/77-idle-deaths/capture.pcap", "lab/forged-rst/capture.pcapng"):
        out = io.BytesIO()
        render(kacap.read(str(captures / case), marks=True), out)
        assert b'<header class="bad">' in out.getvalue()
    out = io.BytesIO()
    render(samples.answered(), out)
    assert b'<header class="good">' in out.getvalue()
