"""Wireshark display filters, recognised where a BPF expression is wanted, and said again as BPF where that can be.

The fields are those of wireshark-filter(4), the words those of pcap-filter(7).
"""

from __future__ import annotations

import re

_PORTS = {"port": "port", "srcport": "src port", "dstport": "dst port"}
_ENDS = {"addr": "", "host": "", "src": "src ", "src_host": "src ", "dst": "dst ", "dst_host": "dst "}
_FLAGS = {"syn": "syn", "fin": "fin", "reset": "rst", "push": "push", "ack": "ack", "urg": "urg"}

# Fields with a value, and BPF words before that value.
FIELDS = {
    **{f"{proto}.{name}": f"{proto} {words}" for proto in ("tcp", "udp") for name, words in _PORTS.items()},
    **{f"{proto}.{name}": f"{words}host" for proto in ("ip", "ipv6") for name, words in _ENDS.items()},
    **{f"eth.{name}": f"ether {_ENDS[name]}host" for name in ("addr", "src", "dst")},
    "ip.proto": "ip proto",
    "vlan.id": "vlan",
}
WORDS = {"tcp": "tcp", "udp": "udp", "ip": "ip", "ipv6": "ip6", "icmp": "icmp", "icmpv6": "icmp6", "arp": "arp"}
LENGTHS = {"frame.len", "frame.cap_len"}
_SAME, _OTHER = {"==", "eq", "==="}, {"!=", "ne", "~="}
_COMPARED = {"<": "<", "lt": "<", "<=": "<=", "le": "<=", ">": ">", "gt": ">", ">=": ">=", "ge": ">="} | dict.fromkeys(
    _SAME, "="
)

# What begins a display filter and nothing else: a protocol, a dot, a field.
_FIELD = re.compile(
    r"\b(?:frame|eth|ip|ipv6|tcp|udp|icmp|icmpv6|vlan|arp|sll|http2?|tls|ssl|dns|data|_ws)(?:\.[a-z_][a-z0-9_]*)+\b"
)
_TOKEN = re.compile(r"""\s*(\{[^}]*\}|"[^"]*"|&&|\|\||[=!~<>]=+|[()!<>]|[^\s(){}"&|=!~<>]+)""")
_CONNECT = {"&&": "and", "and": "and", "||": "or", "or": "or", "!": "not", "not": "not", "(": "(", ")": ")"}

# Why BPF has nothing for a field, and what to do instead.
INSTEAD = {
    "tcp.analysis": "kacap finds the keepalives itself: leave it out",
    "tcp.stream": "filter by the connection's addresses and ports",
    "frame.number": "kacap explain FILE --frame N looks at one frame",
}


class _NoBpfError(Exception):
    """A part of a display filter that BPF has nothing for."""


def advice(expression: str) -> str | None:
    """Return what to write in place of a Wireshark display filter; None: it is not one.

    >>> advice("tcp.port == 5432 && ip.addr == 10.0.0.5")
    "a Wireshark display filter; kacap takes BPF, as tcpdump does: 'tcp port 5432 and host 10.0.0.5'"
    """
    fields = _FIELD.findall(expression)
    if not fields:
        return None
    said = "a Wireshark display filter; kacap takes BPF, as tcpdump does"
    try:
        return f"{said}: '{translated(expression)}'"
    except _NoBpfError as error:
        field = str(error)
        hint = next((words for name, words in INSTEAD.items() if field.startswith(name)), "")
        return f"{said}, which has nothing for {field}" + (f": {hint}" if hint else "")


def is_display_filter(word: str) -> bool:
    """Return whether a word begins a display filter, and is no file's name: ``tcp.port``, ``ip.addr==10.0.0.1``."""
    first = _FIELD.match(word.lstrip("(!"))
    if first is None:
        return False
    name = first[0]
    return name in FIELDS or name in LENGTHS or name.startswith((*INSTEAD, "tcp.flags")) or "=" in word


def translated(expression: str) -> str:
    """Return a display filter as a BPF expression. Raises _NoBpfError, naming the part that BPF has nothing for."""
    tokens = [token.strip('"') for token in _TOKEN.findall(expression)]
    parts, at = [], 0
    while at < len(tokens):
        token = tokens[at]
        if token.lower() in _CONNECT:
            parts.append(_CONNECT[token.lower()])
            at += 1
        elif at + 1 < len(tokens) and _is_operator(tokens[at + 1]):
            if at + 2 >= len(tokens):
                raise _NoBpfError(token)
            parts.append(_comparison(token, tokens[at + 1].lower(), tokens[at + 2]))
            at += 3
        elif token in WORDS:
            parts.append(WORDS[token])
            at += 1
        else:
            raise _NoBpfError(token)
    return " ".join(parts).replace("( ", "(").replace(" )", ")")


def _is_operator(token: str) -> bool:
    return token.lower() in _COMPARED or token.lower() in _OTHER or token.lower() == "in"


def _comparison(field: str, sign: str, value: str) -> str:
    """Return one comparison in BPF."""
    if sign in _OTHER:
        return f"not {_comparison(field, '==', value)}"
    if field in LENGTHS and sign in _COMPARED and value.isdecimal():
        return f"len {_COMPARED[sign]} {value}"
    if (flag := _FLAGS.get(field.removeprefix("tcp.flags."))) and field.startswith("tcp.flags.") and sign in _SAME:
        return f"tcp[tcpflags] & tcp-{flag} {'=' if value.lower() in ('0', 'false') else '!='} 0"
    if field not in FIELDS or (sign not in _SAME and sign != "in"):
        raise _NoBpfError(field)
    words = FIELDS[field]
    values = re.split(r"[,\s]+", value.strip("{} ")) if sign == "in" else [value]
    found = [_one(words, each) for each in values]
    return found[0] if len(found) == 1 else f"({' or '.join(found)})"


def _one(words: str, value: str) -> str:
    """Return BPF for one value of a field: a number, a range of them, an address or a network."""
    if ".." in value and words.endswith("port"):
        low, _, high = value.partition("..")
        return f"{words}range {low}-{high}"
    if "/" in value:
        words = words.removesuffix("host") + "net"
    return f"{words} {value}"
