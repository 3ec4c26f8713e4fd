"""The fixture for users' own tests: found by pytest, cheap to load, and never satisfied by what it could not see."""

import os
import socket
import subprocess
import sys

import pytest

from kacap.errors import KacapError
from kacap.sockets.keepalive import Keepalive

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads other processes' sockets on Linux only")


@pytest.fixture
def pair():
    """Two ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            yield near, far


def test_a_socket_is_read_as_it_is_set(keepalive_of, pair):
    wanted = Keepalive(idle=77, interval=11, count=5)
    wanted.apply(pair[0])
    read = keepalive_of(pair[0])
    assert (read.idle, read.interval, read.count) == (77, 11, 5)


def test_values_without_so_keepalive_are_none_because_no_probe_would_be_sent(keepalive_of, pair):
    pair[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 11)
    assert keepalive_of(pair[0]) is None


@pytest.mark.parametrize("thing", ["127.0.0.1:80", None, 1.5])
def test_what_is_neither_a_socket_nor_a_process_is_refused(keepalive_of, thing):
    with pytest.raises(TypeError, match="a socket or a process id"):
        keepalive_of(thing)


@linux
def test_a_processs_connections_are_read_by_its_id(keepalive_of, pair):
    Keepalive(idle=77, interval=11, count=5, user_timeout=9.5).apply(pair[0])
    near, far = pair[0].getsockname()[1], pair[1].getsockname()[1]
    read = keepalive_of(os.getpid(), port=near)
    assert [k for k in read if k is not None] == [Keepalive(77, 11, 5, 9.5)]
    assert read.count(None) == 1, "the far end, which this process holds too, has keepalive off"
    assert keepalive_of(os.getpid(), port=far) == read


@linux
def test_the_sockets_of_another_process_are_read_while_it_runs(keepalive_of):
    program = (
        "import socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n"
        "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 123)\n"
        "c = socket.create_connection(s.getsockname()); a, _ = s.accept(); c.close(); print(s.getsockname()[1])\n"
        "sys.stdout.flush(); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        port = int(server.stdout.readline())
        try:
            assert [k.idle for k in keepalive_of(server.pid, port=port)] == [123]
        finally:
            server.stdin.close()


@linux
def test_nothing_to_read_is_an_error_and_no_empty_list(keepalive_of):
    with pytest.raises(KacapError, match="has no TCP connection with port 1"):
        keepalive_of(os.getpid(), port=1)
    with pytest.raises(KacapError):
        keepalive_of(2**22 + 1)


def test_pytest_finds_the_fixture_in_any_project(tmp_path):
    (tmp_path / "test_theirs.py").write_text(
        "import socket\n"
        "def test_off(keepalive_of):\n"
        "    with socket.socket() as sock:\n"
        "        assert keepalive_of(sock) is None\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_loading_the_plugin_imports_nothing_that_is_slow():
    program = (
        "import pytest, sys; before = set(sys.modules); import kacap.pytest_plugin\n"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"kacap", "kacap.pytest_plugin"}
