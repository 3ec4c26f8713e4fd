"""What the doctor looks at: one function for each thing, each with what was found and what fixes it."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kacap.capture.library import load_libpcap
from kacap.capture.live_capture import ENGINES, open_live
from kacap.capture.privileges import drop, in_child, rights_of_threads, whom_to_become
from kacap.capture.rights import RUN_AS_ROOT, RUN_WITH_RIGHT, effective, has
from kacap.commands.version import installed
from kacap.errors import KacapError
from kacap.lab.truth import hz
from kacap.trusted import find_program, plain_environment

LINUX = sys.platform.startswith("linux")
LOOPBACK = "lo" if LINUX else "lo0"
SYSTEM = Path("/proc/sys")
CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing: whether it works, what was found, and the command that fixes it (None: nothing to fix)."""

    name: str
    works: bool
    found: str
    fix: str | None = None


def checks() -> list[Check]:
    """Return every check, in the order in which a user needs them."""
    found = [*engines(), capture_rights(), libpcap(), *programs()]
    if LINUX:
        found += [given_up(), ptrace(), user_namespaces(), clock_rate()]
    return [*found, cache(), *versions()]


def engines() -> Iterator[Check]:
    """Yield whether each engine can open the loopback interface; the first that can is the one of ``auto``."""
    chosen = False
    for name in ENGINES:
        try:
            open_live([LOOPBACK], engine=name).close()
        except KacapError as error:
            yield Check(f"engine {name}", False, str(error).split("Try:")[0].strip(), _fix_engine(name))
            continue
        words = "works" if chosen else "works: kacap live uses it (--engine auto)"
        chosen = True
        yield Check(f"engine {name}", True, words)


def _fix_engine(name: str) -> str:
    """Return what to do for an engine that cannot open the loopback interface."""
    if name == "dumpcap" and not (find_program("dumpcap") or find_program("tcpdump")):
        return "sudo apt install tcpdump"
    return {
        "dumpcap": "sudo dpkg-reconfigure wireshark-common && sudo usermod -aG wireshark $USER (then log in again)",
        "ring": RUN_AS_ROOT,
        "scapy": f"{RUN_AS_ROOT}; where scapy is missing: pip install scapy",
    }[name]


def capture_rights() -> Check:
    """Return whether this process may capture by itself."""
    if not LINUX:
        return Check("capture rights", os.access("/dev/bpf0", os.R_OK), "read access to /dev/bpf*", None)
    words = f"CapEff {effective():#x}, CAP_NET_RAW {'is' if has('CAP_NET_RAW') else 'is not'} in it"
    fix = None if has("CAP_NET_RAW") else f"{RUN_AS_ROOT}; or: {RUN_WITH_RIGHT}"
    return Check("capture rights", has("CAP_NET_RAW"), words, fix)


def given_up() -> Check:
    """Return what ``kacap live`` has left, here, when it reads packets: tried in a process of its own."""
    user = whom_to_become(None)
    reading, writing = os.pipe()

    def give_up() -> None:
        drop(user)
        os.write(writing, json.dumps({name: sorted(each) for name, each in rights_of_threads().items()}).encode())

    held = in_child(give_up)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 (a pipe)
        rights = json.loads(pipe.read() or "{}")
    if not held or not rights:
        return Check(
            "live's rights",
            False,
            "cannot be given up: kacap live refuses to read packets here",
            "start it with the right to capture alone: " + RUN_WITH_RIGHT,
        )
    bounded = {int(value, 16) for value in rights["CapBnd"]} == {0}
    words = [
        f"becomes {user.name}" if user else "stays who it is",
        "no capability in any thread",
        "no_new_privs",
        "bounding set empty" if bounded else "bounding set left as it is (only root can empty it)",
        "seccomp and Landlock not used",
    ]
    return Check("live's rights", True, ", ".join(words))


def libpcap() -> Check:
    """Return which libpcap is loaded."""
    try:
        library = load_libpcap()
    except KacapError as error:
        return Check("libpcap", False, str(error), "pip install libpcap")
    library.pcap_lib_version.restype = ctypes.c_char_p
    return Check("libpcap", True, f"{_mapped('libpcap') or library._name}, {library.pcap_lib_version().decode()}")


def _mapped(name: str) -> str | None:
    """Return the path of a library that this process has loaded."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    return next((line.split()[-1] for line in maps.splitlines() if f"/{name}" in line), None)


def programs() -> Iterator[Check]:
    """Yield whether the programs that kacap can use are here."""
    for name, package in (("tshark", "tshark"), ("dumpcap", "wireshark-common"), ("tcpdump", "tcpdump")):
        path = find_program(name)
        words = f"{path}, {_version(path)}" if path else "not found; not needed, but used where it is there"
        yield Check(name, path is not None, words, None if path else f"sudo apt install {package}")


def _version(path: str) -> str:
    """Return the version that a program tells."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False, env=plain_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    found = re.search(r"\d+\.\d+(?:\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "of an unknown version"


def ptrace() -> Check:
    """Return whether other processes' sockets can be read (pidfd_getfd asks for PTRACE_MODE_ATTACH_REALCREDS)."""
    scope = _read(SYSTEM / "kernel/yama/ptrace_scope")
    if has("CAP_SYS_PTRACE"):
        return Check("sockets of others", True, "CAP_SYS_PTRACE: kacap sockets reads every process")
    words = "own processes only" if scope in (None, "0") else f"not even own processes (Yama ptrace_scope {scope})"
    return Check("sockets of others", False, words, "sudo $(command -v kacap) sockets")


def user_namespaces() -> Check:
    """Return whether ``kacap lab`` can make its networks without root."""
    if os.geteuid() == 0 and has("CAP_SYS_ADMIN"):
        return Check("namespaces", True, "root: kacap lab needs no user namespace")
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0 else 1)
    if os.waitpid(pid, 0)[1] == 0:
        return Check("namespaces", True, "user namespaces are allowed: kacap lab runs without root")
    switches = (
        "user.max_user_namespaces=10000",
        "kernel.unprivileged_userns_clone=1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    )
    there = [each for each in switches if (SYSTEM / each.split("=")[0].replace(".", "/")).exists()]
    return Check(
        "namespaces", False, "user namespaces are forbidden: kacap lab needs root", f"sudo sysctl {' '.join(there)}"
    )


def clock_rate() -> Check:
    """Return the kernel's jiffies per second, which say how late a probe may be."""
    rate = hz()
    if rate is not None:
        return Check("HZ", True, f"{rate} jiffies a second (the kernel's configuration)")
    return Check("HZ", True, "not known here; estimated from the probes' lateness where they show it")


def cache() -> Check:
    """Return where compiled kernels are kept."""
    from numba import __version__ as numba

    from kacap.kernel_cache import CACHE
    from kacap.kernels import KNOWN, is_known

    if not is_known(numba):
        oldest, beyond = (".".join(map(str, each)) for each in KNOWN)
        return Check(
            "kernel cache",
            False,
            f"not used with numba {numba}: every run compiles anew",
            f"pip install 'numba>={oldest},<{beyond}'",
        )
    if (directory := CACHE.directory()) is None:
        return Check(
            "kernel cache",
            False,
            f"every run compiles anew: {CACHE.fault}",
            "export KACAP_CACHE=/a/directory/of/yours (that nobody else can write to)",
        )
    return Check("kernel cache", True, str(directory))


def versions() -> Iterator[Check]:
    """Yield the versions of Python and of the packages that matter."""
    yield Check("python", True, f"{platform.python_version()} ({sys.executable})")
    for package in ("numba", "numpy", "scapy", "pyshark", "rich"):
        version = installed(package)
        there = version != "not installed"
        yield Check(package, there, version, None if there else f"pip install {package}")


def _read(path: Path) -> str | None:
    """Return the text of a small file, None where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
