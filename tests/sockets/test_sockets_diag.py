"""The reader of sock_diag against pyroute2's, and against answers written by hand."""

import errno
import socket
import struct

import pytest

from kacap.errors import KacapError
from kacap.sockets.diag import connection, dump

NAMES = "ESTAB SYN-SENT SYN-RECV FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED CLOSE-WAIT LAST-ACK LISTEN CLOSING"
STATE = {name: number for number, name in enumerate(NAMES.split(" "), 1)}
KEEPALIVE = 2
DONE, ERROR, BY_FAMILY, INTERRUPTED = 3, 2, 20, 0x10


def pair(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    client = socket.create_connection(listener.getsockname()[:2])
    return listener, client, listener.accept()[0]


def everything():
    with connection() as link:
        return dump(link)


def of_port(port):
    return [sock for sock in everything() if port in (sock.local[1], sock.remote[1])]


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_socket_is_as_pyroute2_reads_it(host):
    pyroute2 = pytest.importorskip("pyroute2")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener, client, accepted = pair(host)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    port = listener.getsockname()[1]
    with listener, client, accepted, pyroute2.DiagSocket() as diag:
        diag.bind()
        theirs = {
            (
                (each["idiag_src"], each["idiag_sport"]),
                (each["idiag_dst"], each["idiag_dport"]),
                each["idiag_state"],
                each["idiag_timer"] == KEEPALIVE,
                each["idiag_inode"],
                each["idiag_uid"],
                each.get_attr("INET_DIAG_INFO")["tcpi_probes"],
            )
            for each in diag.get_sock_stats(family=family, states=0xFFF, extensions=1 << 1)
            if port in (each["idiag_sport"], each["idiag_dport"]) and each["idiag_inode"]
        }
        ours = {
            (s.local, s.remote, STATE[s.state], s.timer == "keepalive", s.inode, s.uid, s.unanswered)
            for s in of_port(port)
            if s.inode
        }
    assert ours == theirs
    assert len(ours) == 3


@pytest.mark.slow
def test_the_idle_clocks_and_the_timer_run_in_milliseconds():
    pyroute2 = pytest.importorskip("pyroute2")
    listener, client, accepted = pair()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 50)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with listener, client, accepted, pyroute2.DiagSocket() as diag:
        diag.bind()
        (ours,) = [sock for sock in everything() if sock.local == client.getsockname()]
        (theirs,) = [
            each
            for each in diag.get_sock_stats(family=socket.AF_INET, states=0xFFF, extensions=1 << 1)
            if (each["idiag_src"], each["idiag_sport"]) == client.getsockname()
        ]
        info = theirs.get_attr("INET_DIAG_INFO")
    assert 0 <= ours.expires_ms - theirs["idiag_expires"] < 2000
    assert 0 <= info["tcpi_last_ack_recv"] - ours.last_ack_recv_ms < 2000
    assert 0 <= info["tcpi_last_data_recv"] - ours.last_data_recv_ms < 2000
    assert 48_000 < ours.expires_ms <= 50_000


def test_an_ipv4_mapped_address_is_told_as_the_wire_has_it():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as accepted:
            assert accepted.getpeername()[0] == "::ffff:127.0.0.1"
            found = {(sock.local, sock.remote) for sock in of_port(port)}
            assert (("127.0.0.1", port), client.getsockname()) in found


def test_a_closed_connection_waits_without_inode_and_without_idle_clocks():
    listener, client, accepted = pair()
    name = client.getsockname()
    client.close()
    accepted.close()
    listener.close()
    (waiting,) = [sock for sock in everything() if sock.local == name]
    assert (waiting.state, waiting.timer, waiting.inode) == ("TIME-WAIT", "time-wait", 0)
    assert waiting.last_ack_recv_ms is None


class Kernel:
    """A netlink socket that answers each request with the next of its scripts: datagrams, or an errno to fail with."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.asked = []
        self.waiting = []

    def send(self, request):
        self.asked.append(struct.unpack_from("=IHHII", request))
        self.waiting = list(self.scripts.pop(0)) if self.scripts else [message(DONE, payload=bytes(4))]

    def recv(self, size):
        what = self.waiting.pop(0)
        if isinstance(what, int):
            raise OSError(what, "as told")
        number = self.asked[-1][3]
        return b"".join(
            struct.pack("=IHHII", 16 + len(p), k, f, number, 0) + p + bytes(-len(p) % 4) for k, f, p in what
        )


def message(kind=BY_FAMILY, flags=2, payload=None, port=1000):
    """Return one netlink message in a datagram of its own: a socket on 10.0.0.1:port unless told otherwise."""
    if payload is None:
        payload = struct.pack(">BBBBHH", 2, 1, 2, 3, port, 443) + bytes([10, 0, 0, 1]) + bytes(12)
        payload += bytes([10, 0, 0, 2]) + bytes(12) + struct.pack("=IQIIIII", 0, port, 1500, 0, 0, 33, 44)
    return [(kind, flags, payload)]


END = message(DONE, payload=bytes(4))


def test_an_answer_in_many_parts_is_read_whole_and_a_repeated_socket_once():
    both = message(port=1) + message(port=2)
    found = dump(Kernel([both, message(port=2), message(port=3), END]))
    assert [sock.local for sock in found] == [("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.1", 3)]
    first = found[0]
    assert (first.remote, first.state, first.timer) == (("10.0.0.2", 443), "ESTAB", "keepalive")
    assert (first.expires_ms, first.unanswered, first.uid, first.inode) == (1500, 3, 33, 44)


def test_an_interrupted_dump_is_made_again():
    kernel = Kernel([message(flags=2 | INTERRUPTED, port=1), END], [message(port=2), END])
    assert [sock.local[1] for sock in dump(kernel)] == [2]
    assert len(kernel.asked) == 3  # IPv4 twice, IPv6


def test_a_dump_that_overran_its_buffer_is_made_again():
    kernel = Kernel([message(port=1), errno.ENOBUFS, END], [message(port=1), message(port=2), END])
    assert [sock.local[1] for sock in dump(kernel)] == [1, 2]


def test_a_dump_that_is_always_interrupted_ends_with_what_it_found():
    part = [message(flags=2 | INTERRUPTED, port=7), END]
    kernel = Kernel(*[part] * 50)
    assert [sock.local[1] for sock in dump(kernel)] == [7]
    assert len(kernel.asked) == 10


def test_a_kernel_without_ipv6_has_no_such_sockets():
    refusal = message(ERROR, payload=struct.pack("=i", -errno.ENOENT))
    assert len(dump(Kernel([message(), END], [refusal]))) == 1


@pytest.mark.parametrize(
    ("code", "says"), [(errno.ENOENT, "modprobe tcp_diag"), (errno.EPERM, "refuses to list sockets: Operation not")]
)
def test_a_refused_dump_is_one_clear_line(code, says):
    with pytest.raises(KacapError, match=says):
        dump(Kernel([message(ERROR, payload=struct.pack("=i", -code))]))


def test_a_kernel_that_does_not_answer_is_one_clear_line():
    with pytest.raises(KacapError, match="sock_diag gave no answer"):
        dump(Kernel([errno.ETIMEDOUT]))


def test_a_message_that_is_cut_off_is_left_out():
    cut = [(BY_FAMILY, 2, message()[0][2][:40])]
    assert dump(Kernel([cut, END])) == []
