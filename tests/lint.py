"""The linters, one command: ``python tests/lint.py``. What they say is what they find; the exit code is 1 then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINTERS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))


def main() -> int:
    """Run all of them, and return 1 where any finds something."""
    failed = [
        words for words in LINTERS if subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=False).returncode
    ]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
