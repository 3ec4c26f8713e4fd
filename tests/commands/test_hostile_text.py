"""Text that strangers chose is inert wherever it comes out: one table of sinks, one list of strings for all of them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import forked
import pytest
from namespaced import KACAP, inside

import kacap

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CAPTURE = ROOT / "captures" / "lab" / "mid-connection" / "capture.pcapng"
DAMAGED = ROOT / "captures" / "broken" / "text-after-frames.pcap"
HOSTILE = {
    "colours": "\x1b[31mred\x1b[0m",
    "title of a terminal": "\x1b]0;owned\x07",
    "C1 controls": "\x9b31m\x85",
    "a line of its own": "x\nkacap: all is well\r",
    "right to left": "\u202ecod.exe\u2066\u2069",
    "markup": "<img src=x onerror=alert(1)><svg onload=alert(2)>\"'&amp;",
    "a shell": "$(touch was-here)`touch was-here`;touch was-here|touch was-here",
    "a formula": "=cmd|' C'!A0",
    "rich and nagios": "[bold red]x[link=http:x]|y=1;2;3",
    "not UTF-8": os.fsdecode(b"\xff\xfe\x80"),
}


run = partial(forked.run, text=False)


def is_inert(text: str) -> None:
    """Assert that nothing in a text moves a cursor, colours, or turns around what follows."""
    wrong = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n"}
    assert not wrong, f"{wrong} in {text!r}"


def lines(done: subprocess.CompletedProcess[bytes]) -> None:
    """Assert that no line on either stream is the stranger's own."""
    for stream in (done.stdout, done.stderr):
        is_inert(stream.decode())
        assert "\nkacap: all is well" not in "\n" + stream.decode()


class Elements(HTMLParser):
    """What a page holds: the elements of scripts and pictures, and attributes that run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in ("img", "iframe", "object", "link") else []
        self.found += [name for name, _ in attrs if name.startswith("on")]


def page(text: str) -> None:
    is_inert(text)
    assert Elements(text).found == []


def picture(text: str) -> None:
    is_inert(text)
    names = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(text).iter()}
    assert not names & {"script", "img", "image", "foreignObject", "a"}


def records(text: str) -> None:
    for line in text.splitlines():
        json.loads(line)
    assert not {c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c != "\n"}


def junit(text: str) -> None:
    is_inert(text)
    assert {node.tag for node in ElementTree.fromstring(text).iter()} <= {
        "testsuites", "testsuite", "testcase", "failure", "skipped", "error", "system-out", "properties", "property",
    }  # fmt: skip


def nagios(text: str) -> None:
    is_inert(text)
    assert len(text.splitlines()) == 1 and text.count("|") == 1


def tap(text: str) -> None:
    is_inert(text)
    assert all(re.match(r"(TAP version|1\.\.|ok |not ok |#|  )", line) for line in text.splitlines())


def coloured(text: str) -> None:
    """The text's own colours are kacap's; the stranger's red is not among them."""
    assert "\x1b[31mred" not in text
    is_inert(re.sub(r"\x1b\[[\d;]*m", "", text))


# Where text comes out: the words of the command, and what its standard output, or the file that it writes, has to be.
SINKS: dict[str, tuple[list[str], Callable[[str], None]]] = {
    "terminal": (["read", "FILE", "-v", "--color", "always"], coloured),
    "plain text": (["read", "FILE"], is_inert),
    "JSON": (["read", "FILE", "--json"], records),
    "live": (["live", "-r", "FILE"], is_inert),
    "explain": (["explain", "FILE", "--frame", "1"], is_inert),
    "check": (["check", "FILE", "--idle", "1"], is_inert),
    "JUnit": (["check", "FILE", "--idle", "1", "--format", "junit"], junit),
    "TAP": (["check", "FILE", "--idle", "1", "--format", "tap"], tap),
    "Nagios": (["check", "FILE", "--idle", "1", "--format", "nagios"], nagios),
    "HTML": (["report", "FILE", "-o", "-"], page),
    "SVG": (["chart", "FILE", "-o", "out.svg"], picture),
    "stderr": (["annotate", "FILE", "-o", "out.pcapng"], is_inert),
    "error": (["read", "no-such-FILE"], is_inert),
    "filter": (["read", "FILE", "-F", "no-such-FILE"], is_inert),
}


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("source", [CAPTURE, DAMAGED], ids=["whole", "damaged"])
def test_names_of_files_are_inert(sink, source, tmp_path):
    words, look = SINKS[sink]
    name = "".join(HOSTILE.values()).replace("/", "")[:120] + os.fsdecode(b"\xff")
    assert len(os.fsencode(name)) < 256
    (tmp_path / name).write_bytes(source.read_bytes())
    done = run(*(word.replace("FILE", name) for word in words), cwd=tmp_path)
    assert done.returncode in (0, 1, 2, 3), done.stderr
    assert b"unexpected" not in done.stderr and b"Traceback" not in done.stderr, done.stderr
    is_inert(done.stderr.decode())
    assert b"\nkacap: all is well" not in b"\n" + done.stderr
    written = tmp_path / words[-1]
    text = written.read_text() if words[-1] == "out.svg" and written.exists() else done.stdout.decode()
    if text:
        look(text)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("what", HOSTILE)
def test_an_output_of_such_a_name_is_told_of_inertly(what, tmp_path):
    name = HOSTILE[what].replace("/", "") + ".html"
    done = run("report", CAPTURE, "-o", name, cwd=tmp_path)
    assert done.returncode == 0
    lines(done)
    assert (tmp_path / name).is_file()
    lines(run("report", CAPTURE, "-o", tmp_path / "none" / name))
    lines(run("live", "-r", CAPTURE, "-w", tmp_path / "none" / name))


def named_in_the_file(text: str) -> bytes:
    """Return a pcapng whose section, interface and comments are called ``text``, with the frames of ``CAPTURE``."""
    encoded = os.fsencode(text)
    option = lambda code: struct.pack("<HH", code, len(encoded)) + encoded + bytes(-len(encoded) % 4)  # noqa: E731
    data, out, at = CAPTURE.read_bytes(), b"", 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + length - 4]
        fixed = {0x0A0D0D0A: 16, 1: 8}.get(kind)
        if fixed is not None:
            codes = (1, 2, 3, 4) if kind != 1 else (1, 2, 3, 11)
            clock = struct.pack("<HHBxxx", 9, 1, 9) if kind == 1 else b""
            body = body[:fixed] + b"".join(map(option, codes[:3])) + clock + bytes(4)
        out += struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
        at += length
    return out


@pytest.mark.parametrize("sink", SINKS)
def test_names_and_comments_inside_a_capture_are_inert(sink, tmp_path):
    words, look = SINKS[sink]
    (tmp_path / "x.pcapng").write_bytes(named_in_the_file("".join(HOSTILE.values())))
    done = run(*(word.replace("FILE", "x.pcapng") for word in words), cwd=tmp_path)
    lines(done) if sink not in ("terminal", "JSON") else None
    assert b"unexpected" not in done.stderr, done.stderr
    if done.stdout:
        look(done.stdout.decode())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process names itself by prctl(2)")
@pytest.mark.parametrize("what", HOSTILE)
def test_the_names_of_processes_are_inert(what):
    script = (
        "import ctypes, os, socket, sys\n"
        "ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[1])[:15], 0, 0, 0)\n"
        "one = socket.create_server(('127.0.0.1', 0)); two = socket.create_connection(one.getsockname())\n"
        "two.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n"
        "print(one.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, HOSTILE[what]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        port = int(holder.stdout.readline())
        plain, as_json = run("sockets", "--port", port), run("sockets", "--port", port, "--json")
        holder.stdin.close()
    assert plain.returncode == as_json.returncode == 0
    lines(plain)
    records(as_json.stdout.decode())


INTERFACES = ["\x1b[31mred", "=1+1", "<b>x", "a\u202eb", "-rf", "[bold]x"]


@pytest.mark.namespaces
def test_the_names_of_interfaces_are_inert():
    script = f"""
    mapfile -t names <<<"$NAMES"
    for name in "${{names[@]}}"; do
        ip link add "$name" type veth peer name "other$((++n))" && ip link set dev "$name" up || exit 77
        {{ timeout 20 {KACAP} live --duration 1 -i "$name"; {KACAP} live -i "no$name"; }} &
    done
    kacap live -D
    kacap doctor
    wait
    """
    done = inside(script, env=os.environ | {"NAMES": "\n".join(INTERFACES)})
    assert done.returncode == 0, done.stderr
    for told in ("listening on", "no such interface"):
        assert done.stderr.count(told) == len(INTERFACES), done.stderr
    is_inert(done.stdout)
    is_inert(done.stderr)
    assert "unexpected" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("what", HOSTILE)
def test_tables_hold_no_formula_of_a_stranger(what, tmp_path):
    """What a spreadsheet runs begins with = + - or @: no text of a table does, whatever a capture and its file say."""
    name = "".join(c for c in HOSTILE[what] if c not in "/\0")[:80] + ".pcapng"
    (tmp_path / name).write_bytes(named_in_the_file(HOSTILE[what]))
    tables = kacap.read(str(tmp_path / name), keep_all=True).tables
    rows = 0
    for each in ("connections", "probers", "probes", "episodes", "findings"):
        frame = getattr(tables, each).to_pandas()
        rows += len(frame)
        for line in list(csv.reader(io.StringIO(frame.to_csv(index=False))))[1:]:
            texts = [cell for cell in line if not re.fullmatch(r"-?[\d.:e+ -]*( days?.*)?", cell)]
            assert not [cell for cell in texts if cell[:1] in tuple("=+-@\t\r")], line
    assert rows
