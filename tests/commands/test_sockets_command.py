"""``kacap sockets`` from outside: rows, records, limits, watching."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import jsonschema
import pytest

from kacap.commands.sockets_view import HEAD, Behind, fitted, row, summary
from kacap.report.records import schema
from kacap.sockets.state import SocketState
from kacap.timing.limits import limit

PROGRAM = [sys.executable, "-m", "kacap", "sockets"]
CHECK = jsonschema.Draft202012Validator(schema())
ORDER = (
    "v type time_ns netns state local remote pid process uid inode keepalive idle_ns interval_ns count user_timeout_ns "
    "set_by timer next_probe_ns unanswered detect_ns values why limit_ns warning"
)
SECOND = 10**9


@pytest.fixture
def pair():
    """A listener's port and both ends of a connection: the client keeps alive with 60/10/6 and a user timeout."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        for name, value in ((4, 60), (5, 10), (6, 6), (18, 30_000)):
            client.setsockopt(socket.IPPROTO_TCP, name, value)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        yield listener.getsockname()[1], client, accepted


def run(*words, **more):
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, check=False, timeout=60, **more)


@pytest.mark.slow
def test_a_pipe_gets_plain_aligned_columns_and_a_summary(pair):
    done = run("--port", pair[0])
    head, *rows = done.stdout.splitlines()
    assert head.split("  ")[0].strip() == "STATE"
    client = next(line for line in rows if " on " in line)
    assert re.fullmatch(
        r"ESTAB +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ +\S+\[\d+\] +on +60/10/6 +30\.0 s +(60\.0|5\d\.\d) s +0 +70\.0 s +"
        r"socket option",
        client,
    )
    assert client.index("on ") == head.index("KA")
    assert rows[-1] == "2 connections: keepalive on 1, off 1."
    assert "\x1b" not in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_listeners_are_shown_when_asked_for(pair):
    assert "LISTEN" not in run("--port", pair[0]).stdout
    assert "LISTEN" in run("--port", pair[0], "--all").stdout


@pytest.mark.slow
def test_every_record_meets_the_schema_and_has_its_keys_in_order(pair):
    done = run("--port", pair[0], "--json", "--all", "--behind", "aws-nlb")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    for record in records:
        CHECK.validate(record)
        assert list(record) == ORDER.split(" ")
    by_local = {(record["local"], record["remote"]): record for record in records}
    client = by_local[tuple("{}:{}".format(*name) for name in (pair[1].getsockname(), pair[1].getpeername()))]
    assert (client["idle_ns"], client["interval_ns"], client["count"]) == (60 * SECOND, 10 * SECOND, 6)
    assert (client["user_timeout_ns"], client["detect_ns"]) == (30 * SECOND, 70 * SECOND)
    assert (client["limit_ns"], client["warning"], client["pid"]) == (350 * SECOND, None, os.getpid())
    assert {record["warning"] for record in records if record["state"] == "ESTAB"} == {None, "no keepalive"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "summary", "cells"),
    [
        ("aws-nlb", "1 of 2 would be dropped silently by a 350 s idle timeout.", ("ok", "no keepalive")),
        ("azure", "1 of 2 would be dropped silently by a 240 s idle timeout.", ("ok", "no keepalive")),
        ("60", "2 of 2 would be dropped silently by a 60.0 s idle timeout.", ("too late: after up", "no keepalive")),
        ("aws-alb", "Keepalives do not refresh AWS ALB: it ends what carries no data for 60.0 s.", ("refresh it",)),
    ],
)
def test_an_idle_limit_warns_of_what_it_would_forget(pair, words, summary, cells):
    done = run("--port", pair[0], "--behind", words)
    assert summary in done.stdout.splitlines()
    for cell in cells:
        assert cell in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--behind", "aws-nbl"], 2, "kacap: --behind aws-nbl: neither a known limit"),
        (["--port", "0"], 2, "Invalid value for '--port'"),
        (["--pid", str(2**22 - 1)], 1, f"kacap: no process {2**22 - 1}"),
        (["--netns", "no-such-name"], 1, "kacap: --netns no-such-name: no such network namespace"),
        (["eth0"], 2, "unexpected extra argument"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_an_exit_code(words, code, says):
    done = run(*words)
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


@pytest.mark.slow
def test_watching_prints_what_changes_and_ctrl_c_ends_it_well(pair):
    port, client, _ = pair
    words = [*PROGRAM, "--watch", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        lines = [watching.stdout.readline() for _ in range(3)]
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
        lines.append(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        rest, errors = watching.communicate(timeout=20)
    assert [line.split()[1] for line in lines] == ["STATE", "+", "+", "~"]
    assert "77/10/6" in lines[-1]
    assert (watching.returncode, rest, errors) == (0, "", "")


@pytest.mark.slow
def test_watching_as_json_tells_of_a_socket_that_is_gone(pair):
    port, client, accepted = pair
    words = [*PROGRAM, "--watch", "--json", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
        records = [json.loads(watching.stdout.readline()) for _ in range(2)]
        accepted.close()
        client.close()
        records += [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=20)
    assert [record["state"] for record in records] == ["ESTAB", "ESTAB", "GONE", "GONE"]
    for record in records:
        CHECK.validate(record)
    assert watching.returncode == 0


def on_a_terminal(words, env, until):
    """Run the program on a terminal until it has shown ``until``; return what it wrote, and its exit code."""
    ours, its = pty.openpty()
    with subprocess.Popen(words, stdin=its, stdout=its, stderr=its, env=os.environ | env) as program:
        os.close(its)
        text, deadline = "", time.monotonic() + 30
        while not re.search(until, text) and time.monotonic() < deadline:
            text += os.read(ours, 65536).decode()
        program.send_signal(signal.SIGINT)
        program.wait(20)
    os.close(ours)
    return text, program.returncode


@pytest.mark.slow
def test_a_terminal_is_redrawn_each_second_until_ctrl_c(pair):
    words = [*PROGRAM, "--watch", "--port", str(pair[0])]
    env = {"TERM": "xterm-256color", "COLUMNS": "150"}
    text, code = on_a_terminal(words, env, r"(?s)2 connections.*2 connections.*2 conn")
    assert text.count("60/10/6") >= 2
    assert "\x1b[38;5;130m" in text  # the one without keepalive
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "coloured"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)]
)
def test_colour_is_for_terminals_that_have_not_said_no(pair, env, coloured):
    environment = {"NO_COLOR": "", "TERM": "xterm"} | env
    text, _ = on_a_terminal([*PROGRAM, "--port", str(pair[0])], environment, "2 connections")
    assert ("\x1b[38;5;130m" in text) is coloured
    assert "OFF" in text


def state(**changes):
    known = {
        "cookie": 1, "state": "ESTAB", "local": ("10.0.0.1", 1), "remote": ("fd00::1", 2), "uid": 7, "inode": 9,
        "pid": 1, "process": "x", "keepalive": True, "timer": "keepalive", "next_probe_ns": 0, "values": "estimate",
        "idle": 300, "why": "no permission: told so",
    }  # fmt: skip
    return SocketState(**known | changes)


def test_an_estimate_is_marked_and_what_it_leaves_open_is_a_question_mark():
    assert row(state(), None) == [
        "ESTAB", "10.0.0.1:1", "[fd00::1]:2", "x[1]", "on", "~300/?/?", "?", "late", "0", "?", "no permission",
    ]  # fmt: skip
    assert summary([state()], None)[1:] == [
        "~ is an estimate from the running timer: interval, count and user timeout do not show there.",
        "1 row without values: no permission: told so",
    ]


def test_a_limit_reckons_with_the_latest_that_a_timer_may_fire():
    nlb = Behind("aws-nlb", limit("aws-nlb"), (250,))
    assert nlb.warning(state(idle=333)) is None  # 333 + 16.384 s
    assert nlb.warning(state(idle=334)) == "too late: after up to 350 s"
    assert nlb.warning(state(idle=10, interval=340)) == "too late: after up to 356 s"  # interval governs
    assert Behind("aws-nlb", limit("aws-nlb"), (100, 250)).warning(state(idle=333)) is not None  # 40.96 s at HZ 100
    assert nlb.warning(state(state="LISTEN", keepalive=False)) is None


def test_what_is_not_known_is_counted_apart():
    nlb = Behind("aws-nlb", limit("aws-nlb"), (250,))
    states = [state(), state(keepalive=None, idle=None, values="none"), state(keepalive=False), state(idle=7200)]
    assert summary(states, nlb)[:2] == [
        "4 connections: keepalive on 2, off 1, unknown 1.",
        "2 of 4 would be dropped silently by a 350 s idle timeout; of 2 it is not known.",
    ]


@pytest.mark.parametrize("timer", ["retransmission", "persist"])
def test_keepalive_behind_another_timer_is_told_to_be_suspended(timer):
    assert row(state(timer=timer, next_probe_ns=None), None)[7:9] == ["suspended", "-"]


def test_a_hostile_process_name_reaches_no_terminal():
    assert row(state(process="\x1b[2Jx\u202e"), None)[3] == "?[2Jx?[1]"


def test_next_miss_and_detect_survive_a_terminal_of_80_columns_and_misses_come_first():
    far = ("fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:2", 5432)
    known = {"idle": 60, "interval": 10, "count": 6, "values": "socket", "user_timeout_ns": 0, "why": None}
    fine = state(**known, next_probe_ns=12 * SECOND, detect_ns=120 * SECOND, remote=far, process="postgres-of-many")
    missing = replace(fine, cookie=2, local=("fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1", 40001), unanswered=3)
    head, first, second = fitted([fine, missing], None, 80)
    assert [style for _, style in (head, first, second)] == ["", "missing", ""]
    assert {"NEXT", "MISS", "DETECT"} <= set(head[0].split())
    assert ":40001 " in first[0] and "12.0 s" in first[0] and "!! 3" in first[0] and first[0].endswith("120 s")
    assert all(len(line) <= 80 and ":5432" in line for line, _ in (first, second))
    whole, *_ = fitted([fine], None, 300)
    assert whole[0].split() == " ".join(HEAD).split()
