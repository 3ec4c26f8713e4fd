"""What ``kacap plan`` writes: the plan with its worst cases, the settings of each product, the tables behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import TextIO

from kacap.clock import SECOND_NS
from kacap.errors import UsageError
from kacap.timing.limits import Limit
from kacap.timing.planning import Plan, Request, latest_ns, plan
from kacap.timing.products import PRODUCTS, Product
from kacap.timing.wheel import HZ_VALUES

WIDTH = 110


@dataclass(frozen=True, slots=True)
class View:
    """A request and its answer; ``box`` is the limit to beat, ``table`` what else is known of limits."""

    request: Request
    plan: Plan
    products: Sequence[Product]
    box: Limit | None
    table: Sequence[Limit]


def write_text(view: View, out: TextIO) -> None:
    """Write the plan and its worst cases, then the snippets."""
    best = view.plan
    print(
        f"idle {best.idle} s, interval {best.interval} s, count {best.count} -> first probe <= {bound(best.first_ns)}, "
        f"dead peer found <= {bound(best.found_ns)}, <= {best.per_day:,} probes/day on an idle connection",
        file=out,
    )
    for name, words in _details(view):
        _paragraph(f"  {name:<13} ", words, out)
    print(file=out)
    width = max(len(product.name) for product in view.products) + 2
    for product in view.products:
        _product(view, product, width, out)


def write_json(view: View, out: TextIO) -> None:
    """Write one object: what was asked, what holds, and the settings of each product (null: it cannot hold them)."""
    best = view.plan
    record = {
        "v": 1,
        "type": "plan",
        "limit": None if view.box is None else asdict(view.box),
        "detect_within_ns": None if view.request.within is None else view.request.within * SECOND_NS,
        "hz": list(view.request.hz),
        "rtt_ns": view.request.rtt_ns,
        **_settings(best),
        "user_timeout_ns": best.user_timeout_ns,
        "probes_per_day": best.per_day,
        "products": [_record(view, product) for product in view.products],
    }
    print(json.dumps(record), file=out)


def write_list(table: Sequence[Limit], out: TextIO) -> None:
    """Write the known limits, the shortest first, and the names of the products."""
    print(f"{'limit':<20}{'idle, s':>9}  {'keepalive':<11}what, range, after it, source", file=out)
    for row in sorted(table, key=lambda row: row.seconds):
        effect = "refreshes" if row.refreshed else "no effect"
        spread = f" ({row.range})" if row.range else ""
        _paragraph(
            f"{row.id:<20}{row.seconds:>9,}  {effect:<11}", f"{row.what}{spread}; then {row.after} {_source(row)}", out
        )
    print(file=out)
    _paragraph("--for ", ", ".join(product.name for product in PRODUCTS), out)


def bound(time_ns: int) -> str:
    """Return a worst case in seconds, rounded up so that it stays one: ``55.4 s``, ``6,393 s``."""
    tenths = -(-time_ns // (SECOND_NS // 10))
    return f"{tenths / 10:.1f} s" if tenths < 1000 else f"{-(-time_ns // SECOND_NS):,} s"


def _details(view: View) -> list[tuple[str, str]]:
    """Return the details of a plan: (name, sentence)."""
    best, request = view.plan, view.request
    rows = []
    if view.box is not None:
        lost = f"the next comes <= {bound(best.second_ns)}"
        if best.second_ns >= view.box.seconds * SECOND_NS:
            lost += ", too late: no settings leave room for it"
        rows += [*_limit(view.box, view.table), ("if it is lost", lost)]
    late = bound(latest_ns(best.idle, request.hz) - best.idle * SECOND_NS)
    rates = f"any HZ ({', '.join(map(str, HZ_VALUES))})" if request.hz == HZ_VALUES else f"HZ {request.hz[0]}"
    path = f"round trips up to {request.rtt_ns / 1_000_000:g} ms"
    rows += [
        (
            "user timeout",
            f"{best.user_timeout_ns // 1_000_000} ms bounds unacknowledged data as well, during which keepalive waits; "
            "it takes the place of count",
        ),
        ("holds for", f"Linux at {rates}, where a timer for {best.idle} s may be {late} late; {path}"),
    ]
    return rows


def _limit(box: Limit, table: Sequence[Limit]) -> list[tuple[str, str]]:
    """Return a limit in words: who forgets, what follows and who says so; for a bare number whose it may be."""
    if box in table:
        spread = f" ({box.range})" if box.range else ""
        return [("limit", f"{box.what}: {box.seconds:,} s{spread}; then {box.after} {_source(box)}")]
    same = [row for row in table if row.seconds == box.seconds]
    known = "; ".join(row.what for row in same if row.refreshed)
    in_vain = "; ".join(row.what for row in same if not row.refreshed)
    rows = [("limit", f"{box.seconds:,} s, as stated" + (f"; known of {known}" if known else ""))]
    if in_vain:
        rows += [("beware", f"no keepalive refreshes {in_vain}: send data of the application")]
    return rows


def _source(row: Limit) -> str:
    return f"[{', '.join(part for part in (row.source, row.date) if part)}]"


def _own_plan(view: View, product: Product) -> Plan | None:
    """Return the plan for a product: its own where it chooses interval and count itself; None: nothing holds."""
    if product.shape is None:
        return view.plan
    try:
        return plan(view.request, product.shape)
    except UsageError:
        return None


def _product(view: View, product: Product, width: int, out: TextIO) -> None:
    """Write a product's snippet, and below it what must be known of it."""
    own = _own_plan(view, product)
    interval, count = _pair(view, product, own)
    lines = ["nothing that it can be set to does what is asked"]
    if own is not None:
        lines = product.snippet(own.idle, interval, count, own.user_timeout_ns)
    for number, line in enumerate(lines):
        print(f"{'' if number else product.name:<{width}}{line}", file=out)
    note = product.remark(interval, count)
    if own is not None and product.shape is not None:
        note += f" -> first probe <= {bound(own.first_ns)}, dead peer found <= {bound(own.found_ns)}"
    _paragraph(" " * width + "# ", note, out, again=" " * width + "# ")


def _record(view: View, product: Product) -> dict[str, object]:
    """Return a product's settings as JSON has them; null where it cannot be set so."""
    own = _own_plan(view, product)
    interval, count = _pair(view, product, own)
    return {
        "product": product.name,
        "settings": _settings(own) if own and product.settable else None,
        "lines": product.snippet(own.idle, interval, count, own.user_timeout_ns) if own else None,
        "note": product.remark(interval, count),
        "source": product.source,
    }


def _pair(view: View, product: Product, own: Plan | None) -> tuple[int, int]:
    """Return the interval and count that a product would have."""
    if own is not None:
        return own.interval, own.count
    return product.shape(view.plan.idle) if product.shape else (view.plan.interval, view.plan.count)


def _settings(own: Plan) -> dict[str, int]:
    return {
        "idle": own.idle,
        "interval": own.interval,
        "count": own.count,
        "first_probe_ns": own.first_ns,
        "second_probe_ns": own.second_ns,
        "found_ns": own.found_ns,
    }


def _paragraph(head: str, words: str, out: TextIO, again: str | None = None) -> None:
    """Write words behind a head, wrapped, each further line under the first."""
    indent = " " * len(head) if again is None else again
    print(
        "\n".join(wrap(words, WIDTH, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False)), file=out
    )
