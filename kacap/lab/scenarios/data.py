"""Data, windows and closing: what looks like a keepalive but is not, and what suspends keepalive."""

from __future__ import annotations

from kacap.lab.scenario import Pair, Scenario, at
from kacap.lab.scenarios.states import USUAL
from kacap.sockets.keepalive import Keepalive

_HELLO = at(0.2, "send", "client", 10)

SCENARIOS = (
    Scenario(
        name="unacked-data",
        happens="The way falls silent with data on it; it comes back before the retransmissions give up.",
        look_for="Retransmissions at doubling gaps and no probe, although the silence is longer than idle.",
        then="TcpExtTCPKeepAlive grows only after the data were acknowledged.",
        seconds=13,
        pairs=(USUAL,),
        events=(_HELLO, at(1, "cut"), at(1.2, "send", "client", 100), at(6, "restore")),
    ),
    Scenario(
        name="one-byte-data",
        happens="As unacked-data, with one byte: each retransmission carries the number a probe would carry.",
        look_for="One byte with PSH at doubling gaps: retransmissions. Many tools call each of them a keepalive.",
        then="TcpExtTCPKeepAlive grows only after the byte was acknowledged.",
        seconds=13,
        pairs=(USUAL,),
        events=(_HELLO, at(1, "cut"), at(1.2, "send", "client", 1), at(6, "restore")),
    ),
    Scenario(
        name="zero-window",
        happens="The receiver does not read, its window closes, and the sender has more to send.",
        look_for="Window probes: the shape of a keepalive, but at doubling gaps from 0.2 s, while data wait.",
        then="TcpExtTCPWinProbe counts them; TcpExtTCPKeepAlive stays 0 until the data are through.",
        seconds=12,
        pairs=(USUAL,),
        events=(at(0.2, "send", "client", 20_000), *(at(7 + n / 5, "read", "server") for n in range(8))),
        receive_buffer=8192,
    ),
    Scenario(
        name="zero-window-idle",
        happens="The sender fills the receiver's window exactly and has nothing more to send.",
        look_for="A window of 0 and probes at constant gaps of idle: keepalives after all.",
        then="TcpExtTCPKeepAlive counts them; TcpExtTCPWinProbe stays 0.",
        seconds=14,
        pairs=(USUAL,),
        events=(at(0.2, "fill", "client"),),
        receive_buffer=8192,
    ),
    Scenario(
        name="fin-wait2",
        happens="The prober says that it will send no more; the peer acknowledges that and stays.",
        look_for="Probes after the prober's own FIN: their number is that of the FIN.",
        then="Every probe is answered; the peer sees the end of the stream.",
        seconds=7,
        pairs=(USUAL,),
        events=(_HELLO, at(0.5, "shutdown", "client")),
    ),
    Scenario(
        name="close-wait",
        happens="The peer says that it will send no more; the prober stays.",
        look_for="Probes after the peer's FIN, answered.",
        then="Every probe is answered; the prober sees the end of the stream.",
        seconds=7,
        pairs=(USUAL,),
        events=(_HELLO, at(0.3, "read", "server"), at(0.5, "shutdown", "server")),
    ),
    Scenario(
        name="close-wait-forgotten",
        happens="The peer closes; its kernel answers for the closed socket until tcp_fin_timeout (5 s) is over.",
        look_for="Answered probes first, then a bare RST: an application that does not close after the peer did.",
        then="The prober sees the end of the stream and then EPIPE.",
        seconds=9,
        pairs=(USUAL,),
        events=(_HELLO, at(0.3, "read", "server"), at(0.5, "close", "server")),
        pins=(("server", "net.ipv4.tcp_fin_timeout", 5),),
    ),
    Scenario(
        name="one-byte-probe",
        happens="Probes of one null byte, as Windows and Solaris send them (here: a raw socket, timestamps off).",
        look_for="The byte is a duplicate, so each reply carries a D-SACK of one byte.",
        then="TcpExtTCPKeepAlive stays 0: no kernel sent these probes, the events did.",
        seconds=7,
        pairs=(Pair(),),
        events=(_HELLO, *(at(2 + n, "probe_by_hand", "client", 1) for n in range(4))),
        pins=(("client", "net.ipv4.tcp_timestamps", 0),),
    ),
    Scenario(
        name="rate-limited",
        happens="The peer answers at most one probe in 2.5 s (tcp_invalid_ratelimit).",
        look_for="Two of three probes go unanswered at random looking places, yet the connection lives.",
        then="TcpExtTCPACKSkippedSeq of the peer counts the replies it held back; no error on either socket.",
        seconds=10,
        pairs=(Pair(client=Keepalive(idle=1, interval=1, count=5)),),
        events=(_HELLO,),
        pins=(("server", "net.ipv4.tcp_invalid_ratelimit", 2500),),
    ),
    Scenario(
        name="output-drop",
        happens="The way is cut, and for 2 s the prober's own OUTPUT rule drops what it sends too.",
        look_for="2 probes with a gap of three intervals, then the abort: the capture shows fewer than the count of 4.",
        then="TcpExtTCPKeepAlive is 4, the capture holds 2; the client gets ETIMEDOUT.",
        seconds=9,
        pairs=(Pair(client=Keepalive(idle=2, interval=1, count=4)),),
        events=(
            _HELLO,
            at(0.5, "cut"),
            at(2.7, "block_output", "client", "server"),
            at(4.75, "unblock_output", "client", "server"),
        ),
    ),
)
