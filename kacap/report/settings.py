"""The three settings of ``tcp(7)`` in words: what was seen, what could have produced it, what was expected."""

from __future__ import annotations

from kacap.model import Setting
from kacap.timing.assumes import sentence_of
from kacap.units import between, duration, roundest


def setting(name: str, value: Setting) -> str | None:
    """Return idle, interval, count or user_timeout in words, or None when there is nothing to say about it."""
    if not seen(value) and value.candidates is None and value.expected is None and not value.why:
        return None
    parts = [_could_be(name, value), _observed(value), _against(name, value)]
    words = ", ".join(part for part in parts if part) or value.verdict
    assumed = sentence_of(value.assumes)
    said = value.why if value.why.startswith(assumed) else "; ".join(filter(None, (assumed, value.why)))
    return f"{words}: {said}" if said else words


def _unit(name: str) -> str:
    """Return what a setting is counted in, for after a number."""
    return {"count": "", "user_timeout": " ms"}.get(name, " s")


def _could_be(name: str, value: Setting) -> str:
    """Return the settings that could have produced what was seen: ``60 or 61 s``, ``56 to 60 s``."""
    found = value.candidates or []
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        probably = "" if value.why else f" (probably {roundest(found)})"
        return f"{found[0]} to {found[-1]}{_unit(name)}{probably}"
    return " or ".join(map(str, found)) + _unit(name) if found else ""


def seen(value: Setting) -> str:
    """Return what was seen of a setting: ``61.4 s``, ``at most 5.02 s``, ``3``; empty when nothing was."""
    if value.observed is not None:
        low, high = value.observed
        return f"{low}" if low == high else f"{low} to {high}"
    if value.observed_ns is None:
        return ""
    low, high = value.observed_ns
    return between(low, high) if low else f"at most {duration(high)}"


def _observed(value: Setting) -> str:
    """Return what was seen: ``observed 61.4 s (n=3)``."""
    what = seen(value)
    return f"observed {what}" + (f" (n={value.n})" if value.n else "") if what else ""


def _against(name: str, value: Setting) -> str:
    """Return the comparison with what was expected: ``expected 60 s (socket option) OK``."""
    if value.expected is None:
        return ""
    source = f" ({value.source})" if value.source else ""
    return f"expected {value.expected}{_unit(name)}{source} {value.verdict.upper()}"
