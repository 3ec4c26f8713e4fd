"""(Re)write ``kacap/docs/findings.md``: each finding's definition, a capture where it is true, one where it nearly is.

    python tests/make_pages.py

The page is made of the table of findings and of ``findings/findings_cases.py``; a test holds it to what kacap says.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "findings")]

from findings_cases import PAIRS, Pair, found  # noqa: E402

from kacap.findings import TABLE, WHOLE, CaptureRule, FindingRule  # noqa: E402
from kacap.timing.expectations import Expectation  # noqa: E402

PAGE = ROOT / "kacap" / "docs" / "findings.md"
DROPS = Pair("drops/recovered", (), [], ("lab/recovered",))
HEAD = """# Findings

Each finding of kacap: when it is stated, a shipped capture where it is true, and one where it nearly is and is not
stated. This page is made from the table of findings (`kacap/findings/__init__.py`) by `python tests/make_pages.py`;
tests read every capture named here, and hold the page to what the program says. The commands are run where the
directory `captures` of the source lies. A finding names the frames that show it and what to do (*remedy*).

"""


def pair_of(name: str) -> Pair:
    """The captures of a finding."""
    return DROPS if name == "drops" else PAIRS[name]


def definition(rule: FindingRule | CaptureRule) -> str:
    """What the rule's own text says, in one paragraph."""
    find = getattr(rule, "find", None)
    text = " ".join((find.__doc__ or "").split()) if find else ""
    return text


def command(case: str, expect: Expectation | None) -> str:
    """The command that reads a case, with what it is told to expect."""
    directory = ROOT / "captures" / case
    files = sorted(path.name for path in directory.iterdir() if path.suffix in (".pcap", ".pcapng", ".gz"))
    words = [f"captures/{case}/{name}" for name in files if name != "peer.pcapng"]
    for name in ("idle", "interval", "count"):
        value = getattr(expect, name, None)
        words += [f"--{name} {value}"] if value is not None else []
    words += [f"--from {expect.side.text}"] if expect is not None and expect.side is not None else []
    return f"kacap read {' '.join(words)}"


def story(case: str) -> str:
    """What happens in a case, in the words of its truth or its timeline."""
    directory = ROOT / "captures" / case
    if (directory / "truth.toml").is_file():
        return str(tomllib.loads((directory / "truth.toml").read_text())["happens"])
    if (directory / "timeline.txt").is_file():
        lines = (directory / "timeline.txt").read_text().splitlines()
        said = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
        first = next((i for i, line in enumerate(said) if line.startswith(("From:", "Wireshark", "True:"))), len(said))
        true = next((i for i, line in enumerate(said) if line.startswith("True:")), None)
        then = "" if true is None else f" In truth: {' '.join(said[true:]).removeprefix('True: ')}."
        return " ".join(said[:first]) + then
    if case.startswith("drops/"):
        lost = "The capture's own statistics count frames that were dropped while capturing."
        return f"{story(case.replace('drops/', 'lab/', 1))} {lost}"
    return ""


def section(rule: FindingRule | CaptureRule) -> str:
    """One finding of the page."""
    pair = pair_of(rule.id)
    near = pair.spares[0]
    (one, *_) = [finding for finding in found(pair.raises, pair.expect) if finding.id == rule.id]
    scope = "one connection" if isinstance(rule, FindingRule) else "the capture as a whole"
    lines = [f"## {rule.id}", "", f"**Stated when** {rule.when}. About {scope}.", ""]
    if text := definition(rule):
        lines += [text, ""]
    lines += [
        f"*True:* `{command(pair.raises, pair.expect)}`  ",
        f"{story(pair.raises)}".rstrip(),
        "",
        f"> {one.sentence}",
        "",
        f"*Remedy:* {one.remedy}",
        "",
        f"*Nearly:* `{command(near, pair.spared_by)}`  ",
        f"{story(near)} Not stated.".strip(),
        "",
    ]
    return "\n".join(lines)


def page() -> str:
    """The page."""
    return HEAD + "\n".join(section(rule) for rule in (*TABLE, *WHOLE))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
