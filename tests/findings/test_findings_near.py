"""For each mechanism that a finding rests on, a capture where it is true and one where it nearly is."""

from __future__ import annotations

from pathlib import Path

import pytest
from analysing import CAPTURES
from timelines import parse

import kacap
from kacap.analysis import Analysis
from kacap.timing.giving_up import user_timeout

ENDS = "A 10.0.0.1:40000 isn 1000 id 100\nB 10.0.0.2:5432 isn 5000 ttl 52 id 7001\n\n"
OPEN = """0 A > B S win 64240 <mss 1460>
+0.02 B > A S. win 65160 <mss 1460>
+0.0001 A > B . win 502
+0.1 A > B P. len 10
+0.02 B > A P. len 100
+0.0001 A > B .
"""
PROBES = OPEN + "60 A > B . seq nxt-1\n+0.02 B > A .\n121 A > B . seq nxt-1\n+0.02 B > A .\n"
RESENT_ONCE = " A > B P. len 10 seq nxt-10\n+0.01 B > A .\n"
IN_VAIN = f"1 A > B P. len 10\n+0.01 B > A .\n1.3{RESENT_ONCE}2.1{RESENT_ONCE}"
MISSED_AND_ANSWERED = "{} A > B . seq nxt-1\n{} A > B . seq nxt-1\n+0.02 B > A .\n"

# id, what raises it, words of the sentence, what nearly does
PAIRS = {
    "a silence of 8 s that nothing knew of afterwards": (
        "idle-death", OPEN + "8.2 A > B P. len 10\n+0.02 B > A R seq nxt ack 0\n",
        "what came after 8.06 s of silence got an RST",
        OPEN + "8.2 A > B P. len 10\n+0.02 B > A R. \n",  # with ACK: an application that aborts
    ),
    "a connection that goes on was not dead": (
        "idle-death", OPEN + "90 A > B P. len 10\n+0.02 B > A R seq nxt ack 0\n", "what came after 89.9 s",
        OPEN + "90 A > B P. len 10\n+0.02 B > A R seq nxt ack 0\n+0.02 B > A P. len 5\n+0.01 A > B .\n",
    ),
    "a FIN that was not captured": (
        "idle-death", OPEN + "90 A > B P. len 10\n+0.02 B > A R seq nxt ack 0\n", "what came after 89.9 s",
        OPEN + "9 B > A F. uncaptured\n+0.001 A > B .\n90 A > B P. len 10\n+0.02 B > A R seq nxt ack 0\n",
    ),
    "a silence between retransmissions is no idle time": (
        "idle-death", OPEN + "20 A > B P. len 10\n+0.02 B > A R seq nxt ack 0\n", "what came after 19.9 s",
        OPEN + "0.2 A > B P. len 10\n0.6 A > B P. len 10 seq nxt-10\n1.4 A > B P. len 10 seq nxt-10\n"
        "8 A > B P. len 10 seq nxt-10\n+0.02 B > A R seq nxt ack 0\n",
    ),
    "an RST before the SYN,ACK, from another hop": (
        "forged-reset", "0 A > B S win 64240\n+0.002 B > A R. seq 0 ttl 60 id 3\n+0.02 B > A S. win 65160\n"
        "+0.0001 A > B . win 502\n+0.1 A > B P. len 10\n+0.02 B > A P. len 100\n+0.0001 A > B .\n",
        "its TTL is 60, that of its data 52",
        "0 A > B S win 64240\n+0.002 B > A R. seq 0 ttl 53\n+0.02 B > A S. win 65160\n"
        "+0.0001 A > B . win 502\n+0.1 A > B P. len 10\n+0.02 B > A P. len 100\n+0.0001 A > B .\n",
    ),
    "an RST two hops nearer than data that was captured at one place": (
        "forged-reset", OPEN + "+1 B > A P. len 5\n+0.1 A > B .\n+1 B > A R. ttl 54\n",
        "its TTL is 54, that of its data 52",
        OPEN + "+1 B > A P. len 5\n+0.0003 again 7 ttl 51\n+0.1 A > B .\n+1 B > A R. ttl 54\n",  # at two
    ),
    "an RST after the genuine one, from another counter": (
        "forged-reset", OPEN + "+1 B > A P. len 5\n+0.01 A > B .\n+1 B > A R. \n+0.02 B > A R. ttl 244 id 46339\n",
        "it follows that side's own RST, with TTL 244 for 52",
        OPEN + "+1 B > A P. len 5\n+0.01 A > B .\n+1 B > A R. \n+0.02 B > A R. ttl 52 id 7006\n",
    ),
    "an RST after the genuine one, at a number that its side has never come to": (
        "forged-reset", OPEN + "+1 B > A P. len 5\n+0.01 A > B .\n+1 B > A R. \n+0.02 B > A R. seq nxt+1460\n",
        "it follows that side's own RST, at a sequence number that this side has never come to",
        OPEN + "+1 B > A P. len 5\n+0.01 A > B .\n+1 B > A R. \n+0.02 A > B P. len 9\n+0.02 B > A R ack 0\n",
    ),
    "bytes that are acknowledged in the end": (
        "suspended", OPEN + "1 A > B P. len 10\n1.3 A > B P. len 10 seq nxt-10\n2.1 A > B P. len 10 seq nxt-10\n"
        "4.2 A > B P. len 10 seq nxt-10\n8.4 A > B P. len 10 seq nxt-10\n8.42 B > A .\n",
        "10 B to 10.0.0.2:5432 were unacknowledged for 7.42 s, sent again 4 times (last gaps 800 ms, 2.10 s, 4.20 s), "
        "then acknowledged",
        OPEN + "1 A > B P. len 10 id 500\n2 A > B P. len 10 seq nxt-10 id 500\n3 A > B P. len 10 seq nxt-10 id 500\n"
        "4 A > B P. len 10 seq nxt-10 id 500\n8 A > B P. len 10 seq nxt-10 id 500\n8.42 B > A .\n",  # copies
    ),
    "bytes whose sender resets the connection": (
        "suspended", OPEN + "1 A > B P. len 10\n1.3 A > B P. len 10 seq nxt-10\n2.1 A > B P. len 10 seq nxt-10\n"
        "4.2 A > B P. len 10 seq nxt-10\n12 A > B R. \n",
        "unacknowledged for 11.0 s, sent again 3 times (last gaps 800 ms, 2.10 s), until 10.0.0.1:40000 itself sent an",
        OPEN + "1 A > B P. len 10\n1.3 A > B P. len 10 seq nxt-10\n2.1 A > B P. len 10 seq nxt-10\n12 A > B R. \n",
    ),
    "bytes whose acknowledgements do not arrive": (
        "suspended", OPEN + "1 A > B P. len 10\n+0.01 B > A .\n1.3 A > B P. len 10 seq nxt-10\n+0.01 B > A .\n"
        "2.1 A > B P. len 10 seq nxt-10\n+0.01 B > A .\n8.2 A > B P. len 10 seq nxt-10\n+0.01 B > A .\n",
        "although the capture shows the ACKs of 10.0.0.2:5432: they did not reach it",
        OPEN + "1 A > B P. len 10\n+0.01 B > A .\n1.3 A > B P. len 10 seq nxt-10\n+0.01 B > A .\n"
        "2.1 A > B P. len 10\n+0.01 B > A .\n8.2 A > B P. len 10\n+0.01 B > A .\n",
    ),
    "bytes whose acknowledgements do not arrive, and a reset much later": (
        "suspended", OPEN + f"{IN_VAIN}8.2{RESENT_ONCE}30 A > B R. \n",
        "10 B to 10.0.0.2:5432 again and again for 7.20 s (3 times), although",
        f"{OPEN}{IN_VAIN}2.3{RESENT_ONCE}30 A > B R. \n",  # the last of them arrived soon
    ),
    "probes that are lost again and again": (
        "probe-loss", PROBES + "182 A > B . seq nxt-1\n183 A > B . seq nxt-1\n+0.02 B > A .\n244 A > B . seq nxt-1\n"
        "+0.02 B > A .\n305 A > B . seq nxt-1\n306 A > B . seq nxt-1\n+0.02 B > A .\n367 A > B . seq nxt-1\n"
        "368 A > B . seq nxt-1\n369 A > B . seq nxt-1\n+0.02 B > A .\n",
        "4 of 10 probes of 10.0.0.1:40000 to 10.0.0.2:5432 got no answer, in 3 runs",
        PROBES + "182 A > B . seq nxt-1\n183 A > B . seq nxt-1\n+0.02 B > A .\n244 A > B . seq nxt-1\n+0.02 B > A .\n"
        "305 A > B . seq nxt-1\n306 A > B . seq nxt-1\n+0.02 B > A .\n367 A > B . seq nxt-1\n+0.02 B > A .\n",
    ),
    "an outage that the connection survived": (
        "outage", PROBES + "182 A > B . seq nxt-1\n183 A > B . seq nxt-1\n184 A > B . seq nxt-1\n+0.02 B > A .\n",
        "nothing was heard of 10.0.0.2:5432 for 63.0 s (2 probes of 10.0.0.1:40000 unanswered), then it answered again",
        PROBES + "182 A > B . seq nxt-1\n183 A > B . seq nxt-1\n+0.02 B > A .\n",
    ),
    "a peer whose own keepalive had stopped was gone, not forgotten": (
        "path-forgot", OPEN + "40 A > B P. len 1\n+0.02 B > A .\n240 A > B P. len 10\n+0.02 B > A .\n"
        "540 A > B . seq nxt-1\n541 A > B . seq nxt-1\n542 A > B . seq nxt-1\n543 A > B R. \n",
        "after 300 s of silence the first probe of 10.0.0.1:40000 met nothing; it had survived 200 s",
        OPEN + "100 B > A . seq nxt-1\n+0.02 A > B .\n200 B > A . seq nxt-1\n+0.02 A > B .\n"
        "540 A > B . seq nxt-1\n541 A > B . seq nxt-1\n542 A > B . seq nxt-1\n543 A > B R. \n",
    ),
    "messages a few seconds apart that no keepalive would be set below": (
        "masked", OPEN + "".join(f"{10 + 6 * i} A > B P. len 8\n+0.02 B > A .\n" for i in range(8)),
        "at most 8 B, one way, every 6.00 s (8 times in a row",
        OPEN + "".join(f"{10 + 4 * i} A > B P. len 8\n+0.02 B > A .\n" for i in range(8)),
    ),
    "every second probe answered, every ten seconds": (
        "regular-misses", OPEN + "".join(MISSED_AND_ANSWERED.format(10 * i, 10 * i + 5) for i in range(1, 5)),
        "10.0.0.2:5432 answers one probe in 2, regularly (10.0 s apart)",
        OPEN + "".join(MISSED_AND_ANSWERED.format(i, i + 5) for i in (10, 20, 48, 58, 90)),
    ),
    "replies from a box in front of the peer": (
        "not-end-to-end", PROBES.replace("+0.02 B > A .\n", "+0.02 B > A . ttl 57\n"),
        "2 replies in the name of 10.0.0.2:5432 with TTL 57, its data with TTL 52; what answers 10.0.0.1:40000 likely "
        "stands 5 hops nearer",
        PROBES.replace("+0.02 B > A .\n", "+0.02 B > A . ttl 53\n"),
    ),
}  # fmt: skip


def read(text: str, directory: Path) -> Analysis:
    """What kacap finds in a timeline."""
    parse(ENDS + text).write_pcap(directory / "case.pcap")
    return kacap.read(str(directory / "case.pcap"))


@pytest.mark.slow
@pytest.mark.parametrize("what", PAIRS)
def test_a_finding_is_raised_where_its_mechanism_is_at_work_and_not_where_it_only_seems_so(what, tmp_path):
    name, true, words, near = PAIRS[what]
    raised = [finding for finding in read(true, tmp_path).findings if finding.id == name]
    assert [words in finding.sentence for finding in raised] == [True], [finding.sentence for finding in raised]
    assert name not in [finding.id for finding in read(near, tmp_path).findings]


@pytest.mark.slow
def test_over_ipv6_which_has_no_ip_id_a_second_reset_is_told_by_its_hop_limit_and_ack(tmp_path):
    reset = OPEN + "+1 B > A P. len 5\n+0.01 A > B .\n+1 B > A R. \n+0.02 "
    for last, ids in (("B > A R. ttl 244", ["forged-reset"]), ("B > A R. ", []), ("B > A R ack 0 ttl 244", [])):
        parse(ENDS + reset + last + "\n").ipv6().write_pcap(tmp_path / "case.pcap")
        found = [finding.id for finding in kacap.read(str(tmp_path / "case.pcap")).findings]
        assert found == ids, last


ANSWERED_TWICE = "243 A > B . seq nxt-1\n+0.02 B > A .\n304 A > B . seq nxt-1\n+0.02 B > A .\n"
IN_DOUBT = "in what the capture does not show"


def missed(*times: float, after: str = "") -> str:
    """A connection that was answered every 61 s, then probes at these times, the last of them answered."""
    return PROBES + "".join(f"{at} A > B . seq nxt-1\n" for at in times) + "+0.02 B > A .\n" + after


@pytest.mark.parametrize(
    ("story", "ids"),
    [
        (missed(182, 192, 202, after=ANSWERED_TWICE), ["outage"]),  # its interval, not its idle: it heard nothing
        (missed(182, 243, 304), []),  # as after an answer: the capture may lack the replies
        ("timestamps\n" + missed(182, 243, 304), ["outage"]),  # what it echoes shows that it heard nothing
    ],
)
def test_an_outage_is_told_where_the_capture_shows_that_the_prober_heard_nothing(story, ids, tmp_path):
    analysis = read(story, tmp_path)
    assert [finding.id for finding in analysis.findings] == ids
    assert not any(IN_DOUBT in finding.sentence for finding in analysis.findings)


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("stamps", ["", "timestamps\n"])
def test_replies_that_are_missing_regularly_leave_open_whether_the_capture_lacks_them(stamps, every, tmp_path):
    probes = (f"{61 * n} A > B . seq nxt-1\n" + "+0.02 B > A .\n" * (n % every == 0) for n in range(1, 6 * every + 1))
    (finding,) = read(stamps + OPEN + "".join(probes), tmp_path).findings
    assert finding.id == "regular-misses"
    assert (IN_DOUBT in finding.sentence) == (not stamps)


def test_a_user_timeout_is_bracketed_by_what_a_prober_far_from_the_capture_had_heard(tmp_path):
    """Captured at the peer, two seconds from a prober there and back, idle 60 s, interval 10 s, user timeout 61 s."""
    handshake = "0 A > B S win 64240 <mss 1460>\n+0 B > A S. win 65160 <mss 1460>\n2 A > B .\n"
    probes = "10 B > A P. len 9\n12 A > B .\n72 A > B . seq nxt-1\n82 A > B . seq nxt-1\n92 A > B R. \n"
    (connection,) = read(handshake + probes, tmp_path).connections
    low_ns, high_ns = user_timeout(connection.probers[0])
    assert low_ns < 70 * 10**9 < 71 * 10**9 <= high_ns
    assert "within 100 ms" not in connection.verdict.sentence
    (connection,) = read(probes, tmp_path).connections
    assert "if the prober is within 100 ms of the capture" in connection.verdict.sentence


RESENT = "".join(f"{at} A > B P. len 10 seq nxt-10\n" for at in (130.3, 130.9, 132, 135, 142))
PROBED_BACK = PROBES.replace("A > B . seq nxt-1\n+0.02 B > A .", "B > A . seq nxt-1\n+0.02 A > B .")

VERDICTS = {
    "10 B of 10.0.0.1:40000 are unacknowledged after 12.0 s and 5 retransmissions; before, 10.0.0.1:40000 probes every "
    "61.0 s, all answered": (PROBES + "130 A > B P. len 10\n" + RESENT, ("open", None, None)),
    # The other side, which waits for nothing, probes on: not "before".
    "10 B of 10.0.0.1:40000 are unacknowledged after 12.0 s and 5 retransmissions; 10.0.0.2:5432 probes every 61.0 s, "
    "all answered": (
        PROBED_BACK + "130 A > B P. len 10\n" + RESENT + "182 B > A . seq nxt-1 ack nxt-10\n+0.02 A > B .\n", None,
    ),
    # No keepalive fires while bytes wait, so that none can have given up unseen.
    "10.0.0.1:40000 probes every 61.0 s, all answered; 10.0.0.1:40000 itself reset the connection (10 B of it "
    "unacknowledged for 30.0 s) 39.0 s after the last probe": (
        PROBES + "130 A > B P. len 10\n" + RESENT + "160 A > B R. \n", ("reset", "a", 17),
    ),
    "10.0.0.1:40000 probes every 61.0 s, all answered; 10.0.0.2:5432 closed it (FIN) 29.0 s after the last probe": (
        PROBES + "150 B > A F. \n+0.01 A > B F. \n+0.01 B > A .\n", ("fin", "b", 11),
    ),
    "10.0.0.1:40000 probes every 61.0 s, all answered; the application of 10.0.0.2:5432 reset the connection 29.0 s "
    "after the last probe": (PROBES + "150 B > A R. \n", ("reset", "b", 11)),
    "a box in between reset the connection in the name of 10.0.0.2:5432; 10.0.0.1:40000 probes every 61.0 s, all "
    "answered": (PROBES + "150 B > A R ack 0 ttl 60\n", ("reset", "a box", 11)),
    "10.0.0.1:40000 probes every 61.0 s, all answered; 10.0.0.2:5432, whose application had closed without "
    "reading the last data, reset the connection 29.0 s after the last probe": (
        PROBES + "150 A > B P. len 9\n+0.01 B > A R. \n", ("reset", "b", 12),
    ),
    "10.0.0.1:40000 probes every 61.0 s, all answered; 10.0.0.1:40000 does not know the connection: it answered with "
    "RST 29.0 s after the last probe": (
        PROBES + "150 B > A F. \n+0.01 A > B R ack 0\n", ("reset", "a", 12),
    ),
    "the application of 10.0.0.2:5432 reset the connection; 1 probe of 10.0.0.1:40000 came after it": (
        PROBES + "150 B > A R. \n182 A > B . seq nxt-1\n+0.01 B > A R ack 0\n", ("reset", "b", 11),
    ),
    "10.0.0.2:5432 does not know the connection: it answered with RST to the probe of 10.0.0.1:40000 after 61.0 s of "
    "silence": (PROBES + "182 A > B . seq nxt-1\n+0.02 B > A R ack 0\n", ("reset", "b", 12)),
    "10.0.0.1:40000 gave up on 10.0.0.2:5432: 3 unanswered probes in 72.0 s of silence (a count of at least 3, or a "
    "TCP_USER_TIMEOUT of 68.0 to 72.0 s)": (
        PROBES + "185 A > B . seq nxt-1\n189 A > B . seq nxt-1\n189 A > B . seq nxt-1\n193 A > B R. \n", None,
    ),
    "the application of 10.0.0.1:40000 reset the connection; 2 probes of 10.0.0.1:40000 went unanswered before": (
        PROBES + "185 A > B . seq nxt-1\n195 A > B . seq nxt-1\n198 A > B R. \n", ("reset", "a", 13),
    ),
    # In the midst of a run: a single probe does not show when the next was due.
    "10.0.0.1:40000 gave up on 10.0.0.2:5432, or its application reset the connection: 1 unanswered probe in at least "
    "10.0 s of silence": ("182 A > B . seq nxt-1\n192 A > B R. \n", ("gave-up", "a", 2)),
    "10.0.0.1:40000 gave up on 10.0.0.2:5432: 2 unanswered probes in at least 20.0 s of silence": (
        "182 A > B . seq nxt-1\n192 A > B . seq nxt-1\n202 A > B R. \n", ("gave-up", "a", 3),
    ),
    # Where every other probe is missing, half of a gap is its timer; a third and a half of one is not.
    "10.0.0.1:40000 itself reset the connection (its application, or a keepalive that gave up unseen); 4 probes of "
    "10.0.0.1:40000 went unanswered before": (
        "".join(f"{at} A > B . seq nxt-1\n" for at in (182, 202, 222, 242)) + "252 A > B R. \n", ("reset", "a", 5),
    ),
    "the application of 10.0.0.1:40000 reset the connection; 4 probes of 10.0.0.1:40000 went unanswered before": (
        "".join(f"{at} A > B . seq nxt-1\n" for at in (182, 202, 222, 242)) + "250 A > B R. \n", ("reset", "a", 5),
    ),
    # What is sent again for a second only may yet be answered, and a shorter silence than one survived is not to blame.
    "no keepalive probe in 101 s": (
        OPEN + "100 A > B P. len 10\n100.3 A > B P. len 10 seq nxt-10\n101 A > B P. len 10 seq nxt-10\n",
        ("open", None, None),
    ),
    "10.0.0.2:5432 does not know the connection: it answered with RST; no keepalive probe in 80.0 s": (
        OPEN + "50 A > B P. len 9\n+0.02 B > A .\n80 A > B P. len 9\n+0.02 B > A R seq nxt ack 0\n",
        ("reset", "b", 10),
    ),
    "10.0.0.1:40000 probes every 61.0 s, all answered": (PROBES, ("open", None, None)),
    "no keepalive probe in 140 ms": (OPEN, ("open", None, None)),
    "10.0.0.1:40000 probes every 61.0 s, all answered; 10.0.0.1:40000 closed it (FIN) 1.00 ms after the last probe": (
        PROBES + "182 A > B . seq nxt-1\n+0.001 A > B F. \n+0.02 B > A . ack nxt-1\n+0.001 B > A .\n",  # a reply
        ("fin", "a", 12),
    ),
    "10.0.0.1:40000 probes every 61.0 s, 2 of 3 answered; 10.0.0.1:40000 closed it (FIN) 1.00 ms after the last "
    "probe": (
        PROBES + "182 A > B . seq nxt-1\n+0.001 A > B F. \n+0.02 B > A .\n", ("fin", "a", 12),  # acknowledges the FIN
    ),
    "10.0.0.1:40000 probes every 61.0 s, all answered; the last by data": (
        PROBES + "182 A > B . seq nxt-1\n+0.02 B > A P. len 9\n+0.001 A > B .\n", None,
    ),
    "10.0.0.1:40000 probes every 61.0 s, all answered; an RST in the name of 10.0.0.2:5432 ended the connection "
    "unasked 379 s after the last probe": (PROBES + "500 B > A R ack 0 ttl 53 id 9\n", ("reset", "unclear", 11)),
}  # fmt: skip


@pytest.mark.slow
def test_an_rst_that_is_far_faster_than_replies_does_not_say_that_the_peer_restarted(tmp_path):
    """Without the handshake the first reply is not known to be one when the RST comes."""
    middle = PROBES[PROBES.index("60 A") :]
    for after, ids in (("0.02", ["peer-restarted"]), ("0.001", [])):
        analysis = read(middle + f"182 A > B . seq nxt-1\n+{after} B > A R ack 0\n", tmp_path)
        assert [finding.id for finding in analysis.findings if finding.id == "peer-restarted"] == ids


@pytest.mark.parametrize("sentence", VERDICTS)
def test_a_connection_has_one_verdict_with_who_ended_it_and_in_which_frame(sentence, tmp_path):
    text, ended = VERDICTS[sentence]
    parse(ENDS + text).write_pcap(tmp_path / "case.pcap")
    (connection,) = kacap.read(str(tmp_path / "case.pcap"), keep_all=True).connections
    assert connection.verdict.sentence == sentence
    if ended is not None:
        frame = connection.ended.frame
        assert (connection.ended.how, connection.ended.by, frame and frame.number) == ended


def test_an_answer_that_the_capture_lacks_is_none_that_did_not_come_and_icmp_errors_are_no_tcp_segments() -> None:
    lacking = kacap.read(str(CAPTURES / "crafted/91-answer-not-captured/capture.pcap"))
    assert lacking.connections[0].verdict.sentence.endswith("all answered (1 answer not captured)")
    assert lacking.connections[0].probers[0].interval.why == "no probe went unanswered"
    quoting = kacap.read(str(CAPTURES / "lab/unreachable/capture.pcapng")).capture
    assert (quoting.frames, quoting.segments, quoting.quotes, sum(quoting.skipped.values())) == (17, 9, 4, 4)


def test_a_handshake_that_was_sent_again_does_not_make_the_path_shorter_than_it_may_be(tmp_path):
    """Captured at the peer, a second away from a prober with idle 3 s; both ends send again after a second."""
    text = """0 A > B S win 64240 <mss 1460>
+0 B > A S. win 65160 <mss 1460>
1 A > B S seq 0 win 64240 <mss 1460>
+0 B > A S. seq 0 win 65160 <mss 1460>
+0.02 A > B .
"""
    text += "".join(f"{at} A > B . seq nxt-1\n+0.0001 B > A .\n" for at in (5.025, 9.1, 13.35))
    (connection,) = read(text, tmp_path).connections
    (prober,) = (each for each in connection.probers if each.probes)
    assert 3 in prober.idle.candidates
