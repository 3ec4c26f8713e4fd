"""Sockets of other network namespaces, with the settings of theirs."""

import os
import subprocess
from pathlib import Path

import pytest

from kacap.errors import KacapError
from kacap.netns import inside, of_process, path_of
from kacap.sockets.reader import read_sockets, read_sysctls

pytestmark = [pytest.mark.namespaces, pytest.mark.tool("ip"), pytest.mark.usefixtures("root")]
ON = ((1, 9, 1),)


@pytest.fixture
def named():
    """A network namespace that ``ip netns`` knows, with its own idle time and loopback up."""
    name = f"kacap-test-{os.getpid()}"
    inside_it = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run([*inside_it, "ip", "link", "set", "lo", "up"], check=True)
    subprocess.run([*inside_it, "sh", "-c", "echo 600 > /proc/sys/net/ipv4/tcp_keepalive_time"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_namespace_by_name_shows_its_sockets_and_its_own_sysctls(victim, named):
    other = victim(ON, inside=["ip", "netns", "exec", named])
    state = other.of(read_sockets(netns=named))
    assert (state.keepalive, state.idle, state.where_set, state.pid) == (True, 600, "equals the sysctl", other.pid)
    assert len(read_sockets(netns=named)) == 3
    assert other.local not in {each.local for each in read_sockets()}


def test_an_option_of_the_hosts_value_differs_from_the_namespaces_sysctl(victim, named):
    host = read_sysctls().idle
    assert host != 600
    other = victim((*ON, (6, 4, min(host, 32767))), inside=["ip", "netns", "exec", named])
    assert other.of(read_sockets(netns=named)).where_set == "socket option (idle)"


def test_a_namespace_by_process_id_or_by_path_is_the_same(victim, named):
    other = victim(ON, inside=["ip", "netns", "exec", named])
    by_pid, by_path = read_sockets(netns=str(other.pid)), read_sockets(netns=f"/proc/{other.pid}/ns/net")
    assert {state.local for state in by_pid} == {state.local for state in by_path}
    assert other.local in {state.local for state in by_pid}


def test_a_number_is_a_name_where_there_is_such_a_namespace_and_a_process_id_else():
    number = str(os.getpid())
    assert path_of(number) == Path(f"/proc/{number}/ns/net")
    subprocess.run(["ip", "netns", "add", number], check=True)
    try:
        assert path_of(number) == Path(f"/run/netns/{number}")
        assert path_of(int(number)) == Path(f"/proc/{number}/ns/net")
    finally:
        subprocess.run(["ip", "netns", "del", number], check=True)


def test_a_process_is_looked_for_in_its_own_namespace(victim, named):
    other = victim(ON, inside=["ip", "netns", "exec", named])
    assert other.of(read_sockets(pid=other.pid)).idle == 600
    assert of_process(other.pid) == other.pid
    assert of_process(os.getpid()) is None


def test_this_process_stays_where_it_is(named):
    here = Path("/proc/thread-self/ns/net").readlink()
    there = inside(named, lambda: (Path("/proc/thread-self/ns/net").readlink(), read_sysctls().idle))
    assert (there[0] != here, there[1]) == (True, 600)
    assert Path("/proc/thread-self/ns/net").readlink() == here
    assert read_sysctls().idle != 600


def test_what_fails_inside_is_raised_outside(named):
    with pytest.raises(ZeroDivisionError):
        inside(named, lambda: 1 // 0)


@pytest.mark.parametrize(
    ("netns", "says"),
    [
        ("no-such-name", "--netns no-such-name: no such network namespace; named ones: .*kacap-test-"),
        (str(2**22 - 1), "no such process"),
        ("/etc/hostname", "--netns /etc/hostname: Invalid argument"),
    ],
)
def test_a_namespace_that_does_not_exist_is_one_clear_line(named, netns, says):
    with pytest.raises(KacapError, match=says):
        read_sockets(netns=netns)


def test_without_the_right_to_enter_it_says_what_is_needed(named, victim, as_nobody):
    other = victim(ON)

    def look(netns):
        with pytest.raises(KacapError) as refused:
            read_sockets(netns=netns)
        return str(refused.value)

    needs = "no permission to enter it: needs CAP_SYS_ADMIN, and for a process CAP_SYS_PTRACE, as root has"
    assert as_nobody(lambda: look(named)) == f"--netns {named}: {needs}"
    assert as_nobody(lambda: look(other.pid)) == f"--netns {other.pid}: {needs}"
