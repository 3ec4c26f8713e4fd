"""After how long known boxes forget an idle TCP connection, and what a keepalive does about it. A table with sources.

Defaults change, and most can be configured: a row says where its number comes from and as of when. A user's own rows,
as TOML, take the place of rows with the same id, or are added:

    [[limit]]
    id = "our-firewall"
    seconds = 900
    what = "our firewall"
    refreshed = true       # optional: false where only data counts
    range = "60 to 3600"   # optional, as are after, source and date
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches

from kacap.clock import SECOND_NS
from kacap.errors import UsageError
from kacap.timing.expectations import UNITS_NS

TABLE = "limit"
MOST_SECONDS = 10_000_000  # 115 days: more is a slip of the pen
_NUMBER = re.compile(r"([0-9]{1,9}) ?([a-z]*)")


@dataclass(frozen=True, slots=True)
class Limit:
    """One idle limit: ``seconds`` is its default. ``range``: what it can be set to, in words (empty: not known).

    ``refreshed``: whether a bare keepalive, without data of the application, restarts it. ``after``: what a keepalive
    meets once it has expired. ``date``: as of when the source said so (year and month).
    """

    id: str
    seconds: int
    what: str
    range: str
    refreshed: bool
    after: str
    source: str
    date: str


_RST = "an RST to whoever sends next"
_SILENCE = "silence: packets are dropped"
_FIN = "a FIN when the limit passes, an RST to what comes later"

LIMITS = (
    Limit("aws-alb", 60, "AWS ALB", "1 to 4000", False, _FIN,
          "AWS docs, Application Load Balancer attributes", "2026-11"),
    Limit("aws-clb", 60, "AWS Classic Load Balancer", "1 to 4000", False, _FIN,
          "AWS docs, Classic Load Balancer idle timeout", "2026-11"),
    Limit("haproxy", 60, "HAProxy timeout client or server as often set", "no default", False, _FIN,
          "HAProxy configuration manual, timeout client", "2026-11"),
    Limit("azure-lb", 240, "Azure Load Balancer", "240 to 1800", True,
          "silence; with enableTcpReset an RST to both sides when the limit passes",
          "Microsoft docs, load-balancer-tcp-reset", "2026-11"),
    Limit("azure-nat", 240, "Azure NAT gateway", "240 to 7200", True,
          "an RST to the sender", "Microsoft docs, nat-gateway-resource", "2026-11"),
    Limit("cloudflare-gateway", 270, "Cloudflare Gateway", "", False, "a closed connection",
          "cloudflare-docs #3405", "2026-11"),
    Limit("f5", 300, "F5 BIG-IP", "any", True,
          "an RST to both sides when the limit passes (reset on timeout, on by default); a full proxy (not fastL4) "
          "counts each side for itself", "F5 AS3 reference, L4_Profile", "2026-11"),
    Limit("aws-nlb", 350, "AWS NLB (TCP)", "60 to 6000", True, _RST,
          "AWS docs, NLB update-idle-timeout; AWS announcement of 2024-09-03", "2026-11"),
    Limit("aws-nlb-tls", 350, "AWS NLB (TLS)", "fixed", True,
          "an RST; the NLB itself probes both sides every 20 s once it has seen a keepalive, which must carry no byte",
          "AWS docs, NLB listeners", "2026-11"),
    Limit("aws-nat", 350, "AWS NAT gateway", "fixed", True, "an RST to the inside host that continues",
          "AWS docs, vpc-nat-comparison", "2026-11"),
    Limit("aws-vpc-endpoint", 350, "AWS VPC endpoint", "", True, _RST,
          "AWS networking blog; tenable-techblog, lessons from AWS NLB timeouts", "2026-11"),
    Limit("aws-firewall", 350, "AWS Gateway Load Balancer or Network Firewall", "60 to 6000", True, _SILENCE,
          "AWS docs, Network Firewall FlowTimeouts", "2026-11"),
    Limit("gcp-firewall", 600, "GCP VPC firewall", "fixed", True,
          "silence for what comes in; a probe that the VM sends opens it again", "Google Compute Engine docs, "
          "troubleshooting general tips", "2026-11"),
    Limit("gcp-lb-backend", 600, "GCP L7 load balancer to its backend", "fixed", False, "a closed connection",
          "Google Cloud docs, backend HTTP keepalive timeout", "2024-11"),
    Limit("nginx-stream", 600, "nginx stream proxy_timeout", "any", False, _FIN,
          "nginx docs, ngx_stream_proxy_module; boundary #3133", "2026-11"),
    Limit("ipvs", 900, "IPVS (kube-proxy ipvs, docker swarm)", "ipvsadm --set", True, "an RST",
          "moby #31208; kubeasz #688; ip_vs_proto_tcp.c", "2019-09"),
    Limit("gcp-nat", 1200, "GCP Cloud NAT", "tcpEstablishedIdleTimeoutSec", True, _SILENCE,
          "Google Cloud API, RouterNat; oneuptime blog on Cloud NAT timeouts", "2026-02"),
    Limit("cosmos-mongo", 1800, "Azure Cosmos DB for MongoDB", "", False, "a closed connection",
          "presto #14623", "2026-11"),
    Limit("juniper-srx", 1800, "Juniper SRX", "per application", True, _SILENCE,
          "Junos 12.2 docs, policy application timeout; that a keepalive refreshes it: unverified", "2026-11"),
    Limit("aks-outbound", 1800, "AKS outbound load balancer", "", True, _SILENCE, "AKS #1564", "2026-11"),
    Limit("cisco-asa", 3600, "Cisco ASA or FTD", "timeout conn", True,
          "silence; with reset an RST to both sides when the limit passes", "Cisco ASA 9.1 docs, connection settings",
          "2026-11"),
    Limit("palo-alto", 3600, "Palo Alto", "any", True, _SILENCE,
          "PAN-OS docs, session timeouts", "2026-11"),
    Limit("checkpoint", 3600, "Check Point", "any", True, "silence (first packet isn't SYN); an RST if so configured",
          "Check Point CheckMates", "2026-11"),
    Limit("fortinet", 3600, "Fortinet session-ttl", "300 to 2764800", True, _SILENCE, "Fortinet community ta-p/194357",
          "2026-11"),
    Limit("rfc5382", 7440, "RFC 5382 minimum for a NAT", "at least 2 h 4 min", True, "silence or an RST",
          "RFC 5382 REQ-5", "2008-10"),
    Limit("cisco-nat", 86400, "Cisco IOS NAT", "ip nat translation tcp-timeout", True, _SILENCE,
          "Cisco IOS docs, ip nat translation", "2026-11"),
    Limit("kube-proxy", 86400, "Linux conntrack as kube-proxy sets it", "--conntrack-tcp-timeout-established", True,
          "a new entry, or an RST or silence where rules forbid one", "Kubernetes docs, kube-proxy", "2026-11"),
    Limit("pf", 86400, "OpenBSD pf tcp.established", "set timeout", True, "silence, or an RST with block return",
          "general knowledge, unverified", "2026-11"),
    Limit("conntrack", 432000, "Linux conntrack", "net.netfilter.nf_conntrack_tcp_timeout_established", True,
          "a new entry, or an RST or silence where rules forbid one",
          "nf_conntrack_proto_tcp.c; what follows was measured on Linux 6.18", "2026-11"),
    Limit("aws-security-group", 432000, "AWS security group", "60 to 432000", True, _SILENCE,
          "AWS API, ConnectionTrackingConfiguration", "2026-11"),
)  # fmt: skip


def limit(words: str, table: Iterable[Limit] = LIMITS) -> Limit:
    """Return the limit of that name, or one of so many seconds: ``aws-nlb``, ``350``, ``350s``, ``6m``.

    A bare number is taken to be refreshed by keepalives. Raises UsageError for an unknown name (the nearest is
    suggested) and for a number out of range.
    """
    rows = list(table)
    named = next((row for row in rows if row.id == words.lower()), None)
    if named is not None:
        return named
    if not words[:1].isdigit():
        near = get_close_matches(words.lower(), [row.id for row in rows], 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "--list shows the names"
        raise UsageError(f"--beat {words}: neither a known limit nor a number of seconds; {hint}")
    seconds = whole_seconds(words, "--beat")
    return Limit(f"{seconds} s", seconds, "a limit", "", True, "", "as stated", "")


def whole_seconds(words: str, option: str) -> int:
    """Return the seconds in ``90``, ``90s``, ``2m`` or ``1h``. Raises UsageError, which names the option."""
    matched = _NUMBER.fullmatch(words.lower())
    if matched is None or (matched[2] and matched[2] not in UNITS_NS):
        raise UsageError(f"{option} {words}: not a duration: 90, 90s, 2m, 1h")
    seconds, rest = divmod(int(matched[1]) * UNITS_NS[matched[2] or "s"], SECOND_NS)
    if rest or not 1 <= seconds <= MOST_SECONDS:
        raise UsageError(f"{option} {words} is out of range: whole seconds, 1 to {MOST_SECONDS:,}")
    return seconds


def matching(low_ns: int, high_ns: int, table: Iterable[Limit] = LIMITS) -> list[Limit]:
    """Return the limits above a silence that was survived and up to one that killed, the nearest to that first."""
    rows = [row for row in table if low_ns < row.seconds * SECOND_NS <= high_ns]
    return sorted(rows, key=lambda row: -row.seconds)


def parse_limits(text: str, name: str) -> tuple[Limit, ...]:
    """Return the table with a user's rows in it; ``name`` is the file's. The module says what the TOML looks like.

    Raises UsageError, which names file and row, for invalid TOML, an unknown key, a missing one, a wrong type, a
    number out of range and an id given twice.
    """
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not valid TOML: {error}") from None
    for key in document:
        if key != TABLE:
            raise UsageError(f"{name}: unknown '{key}': limits are written as [[{TABLE}]]")
    rows = document.get(TABLE)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{name}: no [[{TABLE}]] in it")
    table = {row.id: row for row in LIMITS}
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        one = _row(row, f"{name}: [[{TABLE}]] {number}", name)
        if one.id in seen:
            raise UsageError(f"{name}: [[{TABLE}]] {number}: id '{one.id}' is given twice")
        seen.add(one.id)
        table[one.id] = one
    return tuple(table.values())


def _row(row: dict[str, object], origin: str, name: str) -> Limit:
    """Return one row of a user's file."""
    names = [field.name for field in fields(Limit)]
    for key, value in row.items():
        if key not in names:
            near = get_close_matches(key, names, 1)
            raise UsageError(f"{origin}: unknown key '{key}'" + (f", did you mean {near[0]}?" if near else ""))
        wanted = {"seconds": int, "refreshed": bool}.get(key, str)
        if type(value) is not wanted:
            kind = {int: "a whole number", bool: "true or false", str: "text"}[wanted]
            raise UsageError(f"{origin}: {key} must be {kind}")
    for key in ("id", "seconds"):
        if key not in row:
            raise UsageError(f"{origin}: {key} is missing")
    given = {"what": row["id"], "range": "", "refreshed": True, "after": "", "source": name, "date": "", **row}
    limit = Limit(**given)  # type: ignore[arg-type]
    if not 1 <= limit.seconds <= MOST_SECONDS:
        raise UsageError(f"{origin}: seconds={limit.seconds} is out of range: 1 to {MOST_SECONDS:,}")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", limit.id):
        raise UsageError(f"{origin}: id '{limit.id}' must be small letters, digits and '-', a letter first")
    return limit
