"""The HTML report: complete, quiet, harmless whatever it is fed, and the same in a browser as on paper."""

from __future__ import annotations

import io
import re
import subprocess
import time
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
import samples
from analysing import CAPTURES
from bench_reader import given_up
from browser import Browser
from forked import run

import kacap
from kacap.connections import Connections
from kacap.model import Finding, FrameRef
from kacap.report.html import Provenance, provenance, render
from kacap.report.html.wireshark import frames_filter, pair_filter

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[31m{{7*7}}'


def page(analysis, made_from: Provenance | None = None) -> str:
    """The report of an analysis."""
    out = io.BytesIO()
    render(analysis, out, made_from)
    return out.getvalue().decode()


class Reader(HTMLParser):
    """Every element with its attributes, and every piece of text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data.strip())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def cut_off(captures) -> Path:
    return captures / "lab" / "cut-off" / "capture.pcapng"


@pytest.fixture(scope="module")
def whole(cut_off) -> str:
    return page(kacap.read(str(cut_off), marks=True), provenance([str(cut_off)], "tcp", ["--idle", "2"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", samples.ALL)
def test_every_sample_gives_a_page_with_its_verdict_twice_the_same(name):
    first, again = page(samples.ALL[name]()), page(samples.ALL[name]())
    assert first == again
    assert first.count("<h1>") == 1
    assert '<section id="provenance">' in first


def test_the_page_names_file_digest_size_version_filter_and_how_to_repeat_it(whole, cut_off):
    digest = subprocess.run(["sha256sum", cut_off], capture_output=True, text=True, check=True).stdout.split()[0]
    words = Reader(whole).words
    assert f"SHA-256 {digest}" in words
    assert f"{cut_off}, {cut_off.stat().st_size:,} bytes" in words
    assert kacap.__version__ in words
    (commands,) = [text for text in words if "-o report.html" in text]
    assert f"kacap report {cut_off} tcp --idle 2 -o report.html" in commands


def test_nothing_on_the_page_points_outside_or_carries_a_style_or_a_handler(whole):
    for tag, attributes in Reader(whole).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "foreignobject")
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value.startswith("#")


def test_the_scripts_stay_short():
    scripts = resources.files("kacap.report.html")
    lines = [line for name in ("timeline.js", "page.js") for line in scripts.joinpath(name).read_text().splitlines()]
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 120


def test_every_id_is_there_once_and_every_reference_is_met(whole):
    elements = Reader(whole).elements
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for _, a in elements if "href" in a}
    values = [value or "" for _, attributes in elements for value in attributes.values()]
    wanted |= {match for value in values for match in re.findall(r"url\(#([^)]+)\)", value)}
    assert wanted <= set(ids)


def test_each_chart_has_a_role_a_title_and_a_description(whole):
    found = Reader(whole)
    charts = found.all("svg")
    assert len(charts) == 2
    for chart in charts:
        assert chart["role"] == "img"
        title, description = chart["aria-labelledby"].split()
        assert {"id": title} in found.all("title")
        assert {"id": description} in found.all("desc")
    assert "10.1.0.2:40000 gave up on 10.2.0.2:12345: 3 unanswered probes" in whole.split("<title id")[1]


@pytest.mark.slow
def test_frames_that_were_dropped_weaken_every_miss_and_are_hatched_in_the_charts():
    whole, lossy = page(samples.gave_up()), page(samples.drops_in_time())
    assert "4 sent, 0 answered, 4 missed</dd>" in whole
    assert "4 sent, 0 answered, 4 missed or not captured</dd>" in lossy
    assert "1,203 frames lost by the capture" in lossy and "lost by the capture" not in whole
    hatched = re.findall(r'<path [^>]*fill="url\(#timeline-[^"]+" stroke="#a39e63"', lossy)
    assert len(hatched) == 3  # two spans, and the one beside its name
    assert "at known times (cross-hatched)" in lossy


@pytest.mark.slow
def test_strings_from_files_packets_and_rules_are_text_and_never_markup():
    analysis = samples.gave_up()
    analysis.capture.files = [HOSTILE]
    analysis.capture.skipped = {HOSTILE: 3}
    analysis.findings = [Finding(HOSTILE, 0, HOSTILE, [FrameRef(0, 6)], HOSTILE)]
    prober = analysis.connections[0].probers[0]
    prober.idle.source = prober.idle.why = prober.grade = HOSTILE
    text = page(analysis, Provenance([(HOSTILE, 1, "0" * 64)], HOSTILE, [HOSTILE]))
    found = Reader(text)
    assert [one.get("type") for one in found.all("script")] == ["application/json", None]
    assert not found.all("img")
    assert not [a for _, a in found.elements if any(name.startswith("on") for name in a)]
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert any("{{7*7}}" in words for words in found.words)


@pytest.mark.slow
def test_a_file_name_that_is_no_text_is_named_with_question_marks():
    analysis = samples.gave_up()
    analysis.capture.files = ["bad\udcff.pcap"]
    assert "bad?.pcap" in page(analysis)


@pytest.mark.slow
def test_no_payload_byte_reaches_the_page(captures):
    name = captures / "lab" / "heartbeat" / "capture.pcapng"
    data = name.read_bytes()
    text = page(kacap.read(str(name), marks=True), provenance([str(name)]))
    payloads = set(re.findall(rb"[A-Za-z]{4,}", data)) - set(re.findall(rb"[A-Za-z]{4,}", b"dumpcap Linux Ethernet"))
    assert not [word for word in payloads if len(word) > 5 and word.decode() in text and b"Wireshark" not in word]


@pytest.mark.slow
def test_a_quiet_capture_gives_a_page_that_says_so(captures):
    name = captures / "lab" / "heartbeat" / "capture.pcapng"
    text = page(kacap.read(str(name), "port 1", marks=True))
    assert "</span> No frame captured</h1>" in text or "</span> No keepalive probe seen" in text
    assert "No connection with a keepalive probe." in text


@pytest.mark.slow
def test_a_thousand_connections_are_on_one_page_within_seconds():
    analysis = samples.many()
    one = analysis.connections[0]
    analysis.connections = [samples.connection(one.probers, number=n) for n in range(1000)]
    started = time.process_time()
    text = page(analysis)
    assert time.process_time() - started < 5
    assert len(Reader(text).all("tr")) == 1001


@pytest.mark.slow
def test_connections_that_died_are_made_together_whatever_shows_them(tmp_path, monkeypatch):
    (tmp_path / "dead.pcap").write_bytes(given_up(100_000))
    analysis = kacap.read(str(tmp_path / "dead.pcap"), marks=True)
    asked, at = [], Connections.at

    def counted(self, places):
        asked.append(len(places))
        return at(self, places)

    monkeypatch.setattr(Connections, "at", counted)
    assert len(Reader(page(analysis)).all("tr")) > len(analysis.connections) > 200
    assert asked.count(1) < 10


def test_runs_of_frames_become_ranges_and_each_file_has_its_own_filter():
    analysis = samples.drops()
    frames = [FrameRef(0, n) for n in (8, 10, 9, 17)] + [FrameRef(1, 2)]
    assert frames_filter(analysis, frames) == [
        ("frames of a.pcap", "frame.number in {8..10, 17}"),
        ("frames of b.pcap", "frame.number == 2"),
    ]


@pytest.mark.slow
@pytest.mark.tool("tshark")
@pytest.mark.parametrize("case", ["cut-off", "cut-off-ipv6", "unreachable"])
def test_tshark_takes_the_filters_and_finds_those_very_frames(captures, case):
    name = captures / "lab" / case / "capture.pcapng"
    analysis = kacap.read(str(name))
    connection, finding = analysis.connections[0], analysis.findings[0]

    def matched(words: str) -> list[int]:
        done = subprocess.run(
            ["tshark", "-r", name, "-Y", words, "-T", "fields", "-e", "frame.number"],
            capture_output=True,
            text=True,
            check=True,
        )
        return [int(line) for line in done.stdout.split()]

    ((_, words),) = frames_filter(analysis, finding.frames)
    assert matched(words) == sorted({frame.number for frame in finding.frames})
    assert {p.frame.number for p in analysis.probes} <= set(matched(pair_filter(connection.a, connection.b)))


@pytest.mark.tool("chromium")
@pytest.mark.slow
def test_in_a_browser_the_page_opens_quietly_sorts_filters_and_turns_dark(tmp_path):
    path = tmp_path / "report <1>.html"
    path.write_text(page(samples.many()), encoding="utf-8")
    with Browser(tmp_path / "home") as browser:
        browser.open(path)
        assert browser.requests == [path.as_uri()]
        cells = "document.querySelectorAll('#table tbody tr:not([hidden]) td:nth-child(%d)')"
        column = f"[...{cells}].map(cell => cell.textContent)"
        press = "document.querySelectorAll('#table th button')[%d].click()"
        browser.ask(press % 0)
        assert browser.ask(column % 1) == [str(n) for n in range(30)]
        browser.ask(press % 0)
        assert browser.ask(column % 1) == [str(n) for n in reversed(range(30))]
        assert browser.ask("document.querySelector('#table th').getAttribute('aria-sort')") == "descending"
        browser.ask("const box = document.getElementById('words'); box.value = 'gave up'")
        browser.ask("box.dispatchEvent(new Event('input', {bubbles: true}))")
        assert browser.ask(column % 10) == ["✕ gave up"]
        assert browser.ask("document.getElementById('found').textContent") == "1 of 30"
        papers, inks = [], []
        for dark in (False, True):
            browser.dark(dark)
            papers.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
            inks.append(browser.ask("getComputedStyle(document.querySelector(\"svg text[fill='#202020']\")).fill"))
        assert papers == ["rgb(255, 255, 255)", "rgb(20, 23, 26)"]
        assert inks == ["rgb(32, 32, 32)", "rgb(236, 236, 236)"]
        assert browser.complaints == []


@pytest.mark.tool("chromium")
@pytest.mark.slow
def test_in_a_browser_hostile_strings_run_nothing(tmp_path):
    analysis = samples.gave_up()
    analysis.capture.files = [HOSTILE]
    analysis.findings = [Finding("x", 0, HOSTILE, [FrameRef(0, 6)], HOSTILE)]
    path = tmp_path / "hostile.html"
    path.write_text(page(analysis, Provenance([(HOSTILE, 1, None)], HOSTILE)), encoding="utf-8")
    with Browser(tmp_path / "home") as browser:
        browser.send("Page.addScriptToEvaluateOnNewDocument", source="window.alert = () => { window.hit = 1; }")
        browser.open(path)
        assert browser.ask("window.hit || 0") == 0
        assert browser.ask("document.scripts.length") == 2
        assert browser.complaints == []
        # What slipped through all the same would be stopped by the policy.
        browser.ask("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)><p style=color:red>')")
        assert browser.ask("new Promise(r => setTimeout(() => r(window.hit || 0), 200))") == 0
        assert browser.ask("getComputedStyle(document.body.lastElementChild).color") == "rgb(0, 0, 0)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["missing.pcap", "-o", "{out}"], 1, "missing.pcap: no such file"),
        (["{capture}", "-o", "{dir}/no/such/out.html"], 2, "cannot be written: No such file or directory"),
        (["{capture}", "-o", "{capture}"], 2, "output would overwrite the input; name another file"),
        (["{capture}", "port", "-o", "{out}"], 2, "filter 'port' is refused"),
        (["{capture}", "--idle", "never", "-o", "{out}"], 2, "--idle"),
        (["{text}", "-o", "{out}"], 1, "is text, not a capture"),
    ],
)
def test_a_failure_is_one_line_an_exit_code_and_no_file(cut_off, captures, tmp_path, words, code, says):
    names = {"capture": cut_off, "out": tmp_path / "out", "dir": tmp_path, "text": captures / "broken" / "text.pcap"}
    done = run("report", *(w.format(**names) for w in words))
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (code, 1, "")
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_damaged_capture_is_reported_with_its_damage_and_exits_1(captures, tmp_path):
    out = tmp_path / "report.html"
    done = run("report", captures / "broken" / "text-after-frames.pcap", "-o", out)
    assert done.returncode == 1
    assert "damaged at byte" in out.read_text()
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["kacap", "kacap"]


@pytest.mark.parametrize("name", [path.name for path in sorted((CAPTURES / "broken").glob("found-*"))])
def test_what_a_fuzzer_found_is_told_and_drawn(name, tmp_path):
    for words in (["report", "-o", tmp_path / "page.html"], ["chart", "--view", "all", "-o", tmp_path / "chart.svg"]):
        done = run(*words, CAPTURES / "broken" / name)
        assert done.returncode in (0, 1) and "unexpected" not in done.stderr
        assert words[-1].stat().st_size > 1000
