"""Words on the command line into capture files and a filter: ``kacap read a.pcap 'b*.pcap' port 5432``."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from kacap.capture.display_filters import is_display_filter
from kacap.errors import CaptureError, UsageError

# The words that can begin a pcap-filter(7) expression.
_WORDS = (
    "aarp ah and arp atalk broadcast carp clnp decnet dir dst esis esp ether fddi gateway geneve greater host icmp "
    "icmp6 ifname igmp igrp inbound ip ip6 ipx isis iso l1 l2 lat len less link llc lsap moprc mopdl mpls multicast "
    "net netbeui not on or outbound pim port portrange ppp pppoed pppoes proto protochain radio rarp reason rnr "
    "rset ruleset rulenum sctp slip snap src stp subrulenum subtype tcp tr type udp vlan vrrp vxlan wlan"
)
FILTER_WORDS = frozenset(_WORDS.split())


def split_words(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the files that ``words`` begin with, and the filter that the rest is (None: no filter).

    From the left, what exists as a file, matches files as a glob, or is ``-`` (standard input) is a file; the first
    word that is none of these begins the filter. A filter word is a file only where no file came before it. Raises
    CaptureError for a word that is neither.
    """
    files: list[str] = []
    for at, word in enumerate(words):
        found = [] if files and starts_filter(word) else files_named(word)
        if not found:
            if not starts_filter(word) and not is_display_filter(" ".join(words[at:])):
                raise _neither(word)
            return files, " ".join(words[at:])
        files += found
    return files, None


def starts_filter(word: str) -> bool:
    """Return whether a word can begin a pcap filter expression: a keyword, a number, ``(``, ``!``, ``tcp[13]``."""
    if is_display_filter(word):
        return True  # refused later, with what to write instead
    return bool(re.match(r"\s*[(!0-9]", word)) or re.split(r"[^a-z0-9]", word.lstrip(), maxsplit=1)[0] in FILTER_WORDS


def files_named(word: str) -> list[str]:
    """Return the files that a word names: itself, or what it matches as a glob, sorted."""
    if word == "-" or _is_there(word):
        return [word]
    if not glob.has_magic(word):
        return []
    return sorted(path for path in glob.glob(word) if not os.path.isdir(path))  # noqa: PTH112, PTH207


def _is_there(name: str) -> bool:
    """Return whether a name is that of something else than a directory, as far as can be seen."""
    try:
        return not stat.S_ISDIR(os.stat(name).st_mode)  # noqa: PTH116 (a Path takes longer)
    except PermissionError:
        return True  # who opens it says that it may not be read
    except (OSError, ValueError):
        return False


def _neither(word: str) -> CaptureError:
    """Return the error for a word that is neither a file nor the start of a filter."""
    if Path(word).is_dir():
        return CaptureError(f"{word}: a directory; name its files, for example '{word.rstrip('/')}/*.pcap'")
    if glob.has_magic(word):
        return CaptureError(f"{word}: no file matches")
    return CaptureError(f"{word}: no such file (and no filter begins with this word)")


def sources(
    words: Sequence[str], named: Sequence[str] = (), filter_file: str | None = None
) -> tuple[list[str], str | None]:
    """Return files and filter from the words, the files named by ``-r`` and the filter file named by ``-F``.

    Raises UsageError without a file, or with two filters; CaptureError for a file that is not there.
    """
    for name in named:
        if not files_named(name):
            raise _neither(name)
    files, expression = [file for name in named for file in files_named(name)], None
    if words:
        more, expression = split_words(words) if not files or not starts_filter(words[0]) else ([], " ".join(words))
        files += more
    if not files:
        raise UsageError("name a capture file, or - for standard input")
    if files.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    if filter_file is None:
        return files, expression
    if expression is not None:
        raise UsageError(f"two filters: -F {filter_file} and '{expression}'; give one")
    return files, filter_in(filter_file)


def filter_in(path: str) -> str:
    """Return the filter expression that a file holds."""
    try:
        return " ".join(Path(path).read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot read the filter: {getattr(error, 'strerror', None) or error}") from error
