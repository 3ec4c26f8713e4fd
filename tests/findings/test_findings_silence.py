"""What findings say of boxes and idle deaths rests on who was heard elsewhere; healthy captures raise none."""

from __future__ import annotations

import pytest
from analysing import files_of
from findings_cases import PAIRS, found
from timelines import parse, write_pcap

import kacap
from kacap.timing.limits import parse_limits

HEALTHY = (
    "crafted/00-baseline", "crafted/02-zero-window-probes", "crafted/04-mid-capture-answered",
    "crafted/06-both-ends-probe", "crafted/14-everything-twice", "crafted/17-port-reuse-without-syn",
    "crafted/20-answered-by-data", "crafted/21-late-unrelated-acks", "crafted/31-stray-reset",
    "crafted/32-two-vlans", "crafted/36-new-syn", "crafted/40-late-sack-ack", "crafted/51-reply-not-captured",
    "crafted/58-data-while-probed", "crafted/59-spurious-keystroke", "crafted/64-tail-loss-probe",
    "crafted/65-duplicate-acks", "crafted/70b-answer-with-another-start",
    "crafted/71b-closed-after-idle", "crafted/75b-one-timer-and-data", "crafted/76b-one-reply-lost",
    "crafted/78b-brief-loss", "crafted/79b-irregular-data",
    "crafted/83-closed-long-ago", "lab/both-probe", "lab/crossing", "lab/fin-wait2",
    "lab/idle-set-late", "lab/interval-longer-than-idle", "lab/listener-inherits", "lab/mid-connection",
    "lab/nat-forgot-recreated", "lab/on-any", "lab/on-lo", "lab/one-byte-probe", "lab/probe-before-data",
    "lab/sysctl-changed", "lab/up", "lab/up-ipv6", "lab/zero-window", "lab/zero-window-idle",
)  # fmt: skip

PUBLIC = {
    "ntop_nDPI__avast.pcap": ["peer-gone", "peer-gone"],
    "ntop_nDPI__mining.pcapng": ["masked"],
}


def one(case: str, name: str) -> str:
    """The sentence of the only finding of that id."""
    (sentence,) = [finding.sentence for finding in found(case) if finding.id == name]
    return sentence


@pytest.mark.parametrize("case", HEALTHY)
def test_a_capture_in_which_nothing_is_wrong_raises_nothing(case):
    assert found(case) == []


@pytest.mark.slow
def test_a_population_of_which_a_part_was_cut_off_is_told_of_as_that_and_nothing_else():
    assert {finding.id for finding in found("lab/population")} == {"peer-gone", "too-many-probes"}


def test_bytes_that_a_box_drops_show_the_same_bracket_as_its_resets():
    words = one("crafted/77b-silent-idle-deaths", "idle-deaths")
    assert words.startswith("2 connections to 10.0.3.7:5432 died at first use after silence: the longest silence ")
    assert "survived is 349 s, the shortest that killed 360 s; known limits in between: 350 s (AWS NLB" in words


def test_a_host_that_was_started_again_makes_no_bracket_and_each_death_is_hedged():
    findings = found("crafted/77c-host-restarted")
    assert [finding.id for finding in findings] == ["idle-death"] * 3
    assert all("may have forgotten the connection, or the peer was started again" in f.sentence for f in findings)


def test_idle_deaths_of_one_destination_are_told_together_only():
    assert [finding.id for finding in found("crafted/77-idle-deaths")] == ["idle-deaths"]


def test_a_reset_by_a_box_after_idle_says_the_silence_and_the_limit_it_shows():
    words = one("crafted/73-box-resets-the-probe", "forged-reset")
    assert words.endswith("it came at the first use after 360 s of silence")
    forgot = one("crafted/73-box-resets-the-probe", "path-forgot")
    assert "met an RST; it had survived 300 s" in forgot
    assert "the RST is not the peer's own" in forgot
    assert "350 s (AWS NLB" in forgot


def test_an_unasked_reset_of_a_box_says_the_silence_it_ended():
    words = one("crafted/81-reset-at-the-limit", "forged-reset")
    assert "it came unasked, after 300 s of silence; known limits up to that: 300 s (F5 BIG-IP), 240 s (Azure" in words


def test_a_tight_bracket_alone_is_hedged():
    words = one("crafted/82-nobody-else-heard", "path-forgot")
    assert "may have forgotten the connection, or the peer has gone meanwhile; known limits in between: 350 s" in words


def test_a_limit_of_ones_own_is_looked_for_too():
    own = parse_limits('[[limit]]\nid = "our-box"\nseconds = 350\nwhat = "our box"\n', "own.toml")
    (finding,) = kacap.read(files_of("crafted/77-idle-deaths"), limits=own).findings
    assert "known limits in between: 350 s (AWS NLB (TCP), AWS NLB (TLS), AWS NAT gateway, ...)" in finding.sentence
    (finding,) = kacap.read(files_of("crafted/77-idle-deaths"), limits=own[-1:]).findings
    assert "known limits in between: 350 s (our box); set idle" in finding.sentence


@pytest.mark.slow
@pytest.mark.parametrize("case", [pair.raises for pair in PAIRS.values() if pair.raises.startswith("crafted/")])
def test_findings_are_the_same_with_the_ends_exchanged_and_over_ipv6(case, captures, tmp_path):
    timeline = parse((captures / case / "timeline.txt").read_text())
    ids = [finding.id for finding in found(case)]
    one_server = case != "crafted/77-idle-deaths"  # with the ends exchanged it has many destinations
    for variant in (timeline.swapped() if one_server else timeline, timeline.ipv6(), timeline.with_vlan(7)):
        variant.write_pcap(tmp_path / "variant.pcap")
        assert [finding.id for finding in kacap.read(str(tmp_path / "variant.pcap")).findings] == ids


def test_resets_of_one_kind_are_told_once():
    words = one("crafted/63-reset-at-the-probes-number", "forged-reset")
    assert words.startswith("each of 2 RSTs in the name of 10.0.0.2:80 was likely made by a box")
    assert words.endswith("its sequence number is off, so that the receiver ignores it")


def test_icmp_errors_are_named_by_their_type_and_family():
    assert "time exceeded (a routing loop, or too many hops), communication administratively prohibited" in one(
        "crafted/60-unreachable-eight-bytes", "unreachable"
    )
    assert "no route to destination" in one("lab/unreachable-ipv6", "unreachable")


def test_a_last_sign_of_life_before_the_capture_is_said():
    assert "gave up, its last sign of life is before the capture" in one("crafted/56-mid-capture-gave-up", "peer-gone")


def test_one_probe_that_ended_it_may_be_a_count_of_one_or_a_user_timeout():
    assert "(a count of 1, or TCP_USER_TIMEOUT)" in one("lab/user-timeout-short", "peer-gone")


@pytest.mark.slow
@pytest.mark.shared
def test_public_captures_raise_what_was_judged_right_and_no_more(shared):
    raised = {}
    for path in sorted(shared.iterdir()):
        if path.suffix in (".pcap", ".pcapng", ".gz"):
            ids = sorted(finding.id for finding in kacap.read(str(path)).findings)
            if ids:
                raised[path.name] = ids
    assert raised == PUBLIC


@pytest.mark.parametrize("back_s", [2000, None])
def test_a_clock_that_went_back_makes_no_rate_of_probes(back_s, tmp_path):
    """A probe a minute is no rate worth telling; ``None``: every frame from the first probe on has the same time."""
    probes = "+60  A > B .  seq nxt-1\n+0.02  B > A .\n" * 20
    text = f"A 10.0.0.1:40000 isn 1000\nB 10.0.0.2:80 isn 5000\n0  A > B S\n+0.01  B > A S.\n+0.01  A > B .\n{probes}"
    frames = parse(text).frames()
    times = [frames[3][0] if back_s is None and n > 3 else at - (back_s or 0) * 10**9 * (n > 22)
             for n, (at, _) in enumerate(frames)]  # fmt: skip
    path = tmp_path / "clock.pcap"
    write_pcap(path, list(zip(times, (frame for _, frame in frames), strict=True)), 1)
    seen = kacap.read(str(path))
    assert seen.connections[0].probers[0].probes >= 10
    assert [finding for finding in seen.findings if finding.id == "too-many-probes"] == []
