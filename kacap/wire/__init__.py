"""From frames to segments: link, network and TCP headers, and ICMP errors with the segment they quote."""

from kacap.wire.decode import decode
from kacap.wire.skip_reasons import SkipReason

__all__ = ["SkipReason", "decode"]
