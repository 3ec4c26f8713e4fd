"""Programs whose sockets are read: other processes, of this or another user, in this or another namespace."""

import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass

import pytest

NOBODY = 65534

# A pair of connected sockets and the listener; the client gets the options; ends with its standard input.
PROGRAM = r"""
import encodings.idna, json, os, socket, sys
host, options, user = json.loads(sys.argv[1])
if user is not None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
family = socket.AF_INET6 if ":" in host else socket.AF_INET
listener = socket.create_server((host, 0), family=family)
client = socket.create_connection(listener.getsockname()[:2])
accepted, _ = listener.accept()
for level, name, value in options:
    client.setsockopt(level, name, value)
print(json.dumps([client.getsockname()[:2], client.getpeername()[:2]]), flush=True)
for line in sys.stdin:
    exec(json.loads(line))
    print("done", flush=True)
"""


@dataclass
class Victim:
    """A program with sockets: the addresses of its client socket, which has the options."""

    process: subprocess.Popen
    local: tuple[str, int]
    remote: tuple[str, int]

    @property
    def pid(self) -> int:
        return self.process.pid

    def do(self, code: str) -> None:
        """Run Python in the program."""
        print(json.dumps(code), file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def of(self, states):
        """Return the state of the client socket among all."""
        (state,) = [state for state in states if (state.local, state.remote) == (self.local, self.remote)]
        return state


@pytest.fixture
def victim():
    """Start a program: ``victim(options, host=..., user=..., inside=[command that runs it elsewhere])``."""
    started = []

    def start(options=(), host="127.0.0.1", user=None, inside=()):
        words = [*inside, sys.executable, "-c", PROGRAM, json.dumps([host, list(options), user])]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        local, remote = json.loads(process.stdout.readline())
        return Victim(process, tuple(local), tuple(remote))

    yield start
    for process in started:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def root():
    """Skip without root: the test needs another user's process, or a named namespace."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to start a program of another user")


@pytest.fixture
def as_nobody(root):
    """Return a function that calls another in a process of a user without rights, and returns its result."""
    return without_rights


def without_rights(work):
    """Call ``work`` in a copy of this process that has become another user; its result must fit into JSON."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = json.dumps(work())
        except BaseException:
            answer = json.dumps({"failed": traceback.format_exc()})
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    assert "failed" not in (answer if isinstance(answer, dict) else {}), answer["failed"]
    return answer
