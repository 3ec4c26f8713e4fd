"""What captures that were read before say of themselves, as JSON has it: for a capture that goes on after them."""

from __future__ import annotations

from dataclasses import dataclass, field

from kacap.capture.merge import Extent
from kacap.errors import CaptureError, Damage
from kacap.summary import Drop
from kacap.units import clean

BEYOND = 1 << 63  # nanoseconds since 1970, before and after: what 64 bits hold
MOST = 1 << 96  # no count is as large: those of a file have 64 bits, and they are summed up


@dataclass(slots=True)
class Earlier:
    """Files that were read, in order, the extents of those that hold frames, and the sums over all of them."""

    files: list[str] = field(default_factory=list)
    extents: dict[int, Extent] = field(default_factory=dict)
    frames: int = 0
    filtered_out: int = 0
    link_types: list[int] = field(default_factory=list)
    dropped_kernel: int | None = None
    dropped_interface: int | None = None
    drops: list[Drop] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return all of it as JSON has it."""
        extents = [[index, each.first_ns, each.last_ns, each.silence_ns] for index, each in self.extents.items()]
        damages = [[each.file, each.offset, each.frame, each.what] for each in self.damages]
        return {
            "files": self.files,
            "extents": extents,
            "frames": self.frames,
            "filtered_out": self.filtered_out,
            "link_types": self.link_types,
            "dropped_kernel": self.dropped_kernel,
            "dropped_interface": self.dropped_interface,
            "drops": [list(drop) for drop in self.drops],
            "damages": damages,
        }


def earlier_of(value: object) -> Earlier:
    """Return what ``as_json`` was made of. Raises CaptureError where it is something else: anybody may have made it."""
    try:
        if not isinstance(value, dict):
            raise TypeError
        files = [_text(name) for name in value["files"]]
        extents = {
            _number(i, len(files)): Extent(_time(first), _time(last), _number(most))
            for i, first, last, most in value["extents"]
        }
        drops = [
            Drop(None if since is None else _time(since), _time(until), _number(n), None if who is None else _name(who))
            for since, until, n, who in value["drops"]
        ]
        damages = [
            Damage(_named(name, files), _number(offset), _number(frame), _name(what))
            for name, offset, frame, what in value["damages"]
        ]
        return Earlier(
            files,
            extents,
            _number(value["frames"]),
            _number(value["filtered_out"]),
            [_number(each, 1 << 16) for each in value["link_types"]],
            _or_none(value["dropped_kernel"]),
            _or_none(value["dropped_interface"]),
            drops,
            damages,
        )
    except (KeyError, TypeError, ValueError):
        raise CaptureError("what it says of the files before is damaged; read everything again without it") from None


def _number(value: object, limit: int = MOST, least: int = 0) -> int:
    if type(value) is not int or not least <= value < limit:
        raise ValueError
    return value


def _time(value: object) -> int:
    return _number(value, BEYOND, -BEYOND)


def _or_none(value: object) -> int | None:
    return None if value is None else _number(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise ValueError
    return value


def _name(value: object) -> str:
    return clean(_text(value))


def _named(value: object, files: list[str]) -> str:
    if value not in files:
        raise ValueError
    return str(value)
