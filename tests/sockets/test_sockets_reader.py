"""Live sockets of other processes: exact with the rights, honest without, and nothing disturbed."""

import os
import socket
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from kacap.errors import KacapError
from kacap.sockets.processes import Holder
from kacap.sockets.reader import Reader, read_sockets
from kacap.sockets.values import Borrower, UnreadableError

TCP = socket.IPPROTO_TCP
OPTIONS = (
    (TCP, socket.TCP_KEEPIDLE, 123),
    (TCP, socket.TCP_KEEPINTVL, 17),
    (TCP, socket.TCP_KEEPCNT, 5),
    (TCP, socket.TCP_USER_TIMEOUT, 99_000),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)
MS = 1_000_000
NOBODY = 65534

CHURN = """
import threading
stop, abort = False, b"\\1\\0\\0\\0\\0\\0\\0\\0"  # linger 0 s: no TIME-WAIT stays behind
def churn():
    while not stop:
        with socket.create_connection(listener.getsockname()[:2]) as c, listener.accept()[0]:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
            c.close()
busy = threading.Thread(target=churn)
busy.start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_options_that_a_program_of_another_user_set_are_read_exactly(victim, root, host):
    other = victim(OPTIONS, host, user=NOBODY)
    comm = Path(f"/proc/{other.pid}/comm").read_text().strip()
    state = other.of(read_sockets(port=other.local[1]))
    assert (state.keepalive, state.idle, state.interval, state.count) == (True, 123, 17, 5)
    assert (state.user_timeout_ns, state.values, state.why) == (99_000 * MS, "socket", None)
    assert (state.pid, state.process, state.uid) == (other.pid, comm, NOBODY)
    assert state.where_set == "socket option"
    assert 121_000 * MS < state.next_probe_ns <= 123_000 * MS
    assert (state.state, state.timer, state.unanswered, state.detect_ns) == ("ESTAB", "keepalive", 0, 140_000 * MS)


@pytest.mark.slow
def test_an_option_that_is_set_later_is_read_at_the_next_look(victim):
    other = victim()
    reader = Reader(pid=other.pid)
    assert other.of(reader.read()).keepalive is False
    other.do("client.setsockopt(1, 9, 1); client.setsockopt(6, 4, 77)")
    state = other.of(reader.read())
    assert (state.keepalive, state.idle, state.where_set) == (True, 77, "socket option (idle)")


@pytest.mark.slow
def test_reading_leaves_flags_options_and_the_connection_as_they_are(victim):
    other = victim(OPTIONS)
    other.do("import fcntl; before = fcntl.fcntl(client, fcntl.F_GETFL)")
    socket.setdefaulttimeout(5)  # which makes Python set O_NONBLOCK on what it opens
    try:
        for _ in range(3):
            read_sockets(pid=other.pid)
    finally:
        socket.setdefaulttimeout(None)
    other.do("assert fcntl.fcntl(client, fcntl.F_GETFL) == before and not before & __import__('os').O_NONBLOCK")
    other.do("client.sendall(b'x'); assert accepted.recv(1) == b'x'")
    other.do("client.close(); accepted.settimeout(1); assert accepted.recv(1) == b''")  # no copy holds the FIN back


def open_files():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
def test_no_file_is_left_open_behind(victim):
    other = victim(OPTIONS)
    before = open_files()
    read_sockets()
    read_sockets(pid=other.pid)
    assert open_files() == before


@pytest.mark.slow
def test_only_the_sockets_of_one_process_or_port_are_listed(victim):
    one, two = victim(), victim()
    own = read_sockets(pid=one.pid)
    assert [state.pid for state in own] == [one.pid] * 3
    assert sorted(state.state for state in own) == ["ESTAB", "ESTAB", "LISTEN"]
    by_port = [state for state in read_sockets(port=two.remote[1]) if state.inode]
    assert [state.pid for state in by_port] == [two.pid] * 3
    assert read_sockets(port=two.local[1], pid=one.pid) == []


@pytest.mark.slow
def test_without_the_right_a_row_says_so_and_shows_what_its_timer_tells(victim, as_nobody):
    other = victim(OPTIONS)
    states = as_nobody(lambda: [asdict(state) for state in read_sockets(port=other.local[1])])
    ends = {(tuple(state["local"]), tuple(state["remote"])): state for state in states}
    client, accepted = ends[other.local, other.remote], ends[other.remote, other.local]
    assert (client["keepalive"], client["idle"], client["values"]) == (True, 123, "estimate")
    unknown = ("pid", "process", "interval", "count", "user_timeout_ns", "detect_ns")
    assert [client[name] for name in unknown] == [None] * len(unknown)
    assert client["why"].startswith("no permission: the process of uid 0 that holds it may not be looked into")
    assert client["why"].endswith("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, as root has")
    assert (accepted["keepalive"], accepted["idle"], accepted["values"]) == (False, None, "none")


@pytest.mark.slow
def test_a_program_without_rights_reads_its_own_sockets(as_nobody):
    def own():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.setsockopt(TCP, socket.TCP_KEEPIDLE, 33)
            (state,) = read_sockets(pid=os.getpid(), port=listener.getsockname()[1])
            return [state.keepalive, state.idle, state.values, state.state, state.uid]

    assert as_nobody(own) == [True, 33, "socket", "LISTEN", NOBODY]


@pytest.mark.slow
def test_looking_into_one_process_of_another_user_without_rights_is_refused(victim, as_nobody):
    other = victim()

    def look():
        with pytest.raises(KacapError) as refused:
            read_sockets(pid=other.pid)
        return str(refused.value)

    assert as_nobody(look) == (
        f"no permission to look into process {other.pid}: needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, as root has"
    )


@pytest.mark.slow
def test_a_program_that_opens_and_closes_sockets_does_not_disturb_the_reading(victim):
    other = victim()
    other.do(CHURN)
    reader, whys = Reader(port=other.remote[1]), set()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        states = reader.read()
        assert other.of(states).values == "socket"
        whys |= {state.why for state in states}
    other.do("stop = True; busy.join()")
    expected = (
        "None",
        "no process holds it",
        "closed while it was read",
        "no process found that holds it",
        "no permission",
    )
    assert {str(why).partition(":")[0] for why in whys} <= set(expected)
    assert len(whys) > 1


@pytest.mark.slow
def test_a_number_that_now_means_another_file_is_not_read(victim):
    other = victim()
    inode = Path(f"/proc/{other.pid}/fd/4").stat().st_ino
    with Borrower() as borrower:
        for holder, wanted in [
            (Holder(other.pid, 4, "x"), inode + 1),
            (Holder(other.pid, 999, "x"), inode),
            (Holder(2**22 - 1, 4, "x"), inode),
        ]:
            with pytest.raises(UnreadableError, match="closed while it was read"):
                borrower.read(holder, wanted, socket.AF_INET)


@pytest.mark.slow
def test_an_estimate_is_the_largest_of_several_looks(victim, monkeypatch):
    other = victim((*OPTIONS[1:], (TCP, socket.TCP_KEEPIDLE, 40)))
    refused = UnreadableError("no permission: told to say so")
    monkeypatch.setattr(Borrower, "read", lambda *_: (_ for _ in ()).throw(refused))
    reader = Reader(port=other.local[1])
    assert other.of(reader.read()).idle == 40
    time.sleep(1.2)
    other.do("accepted.sendall(b'x'); client.recv(1)")  # the clock starts anew, the timer does not: 38.8 + 0
    state = other.of(reader.read())
    assert (state.idle, state.values, state.why) == (40, "estimate", "no permission: told to say so")
    assert other.of(Reader(port=other.local[1]).read()).idle < 40


def test_a_system_other_than_linux_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(KacapError, match="Linux's sock_diag and pidfd_getfd, which darwin does not have"):
        read_sockets()


def test_a_process_that_does_not_exist_is_told_in_one_line():
    with pytest.raises(KacapError, match=f"no process {2**22 - 1}"):
        read_sockets(pid=2**22 - 1)


@pytest.mark.slow
def test_many_threads_may_read_at_once(victim):
    other, found = victim(OPTIONS), []

    def look():
        found.append(other.of(read_sockets(port=other.local[1])).idle)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [123] * 8
