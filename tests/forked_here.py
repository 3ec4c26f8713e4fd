"""``kacap WORDS`` forked from the process of ``forked.py``, as if this process, which costs next to nothing, were it.

Its streams, directory, environment and namespaces are this one's; signals are passed on, and this one ends as it does.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE]
asked = {
    "words": sys.argv[1:],
    "cwd": os.getcwd(),  # noqa: PTH109 (nothing more is imported than has to be)
    "env": dict(os.environ),
    "umask": None,
    "file_bytes": None,
    "ignored": [number for number in PASSED_ON[:3] if signal.getsignal(number) == signal.SIG_IGN],
    "like": os.getpid(),
}
signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
channel.connect(os.environ["KACAP_FORKED"])
socket.send_fds(channel, [json.dumps(asked).encode()], [0, 1, 2])
for descriptor in (0, 1, 2):  # a pipe ends when the command has closed it
    os.close(descriptor)
pid = int(channel.recv(100))
for number in PASSED_ON:
    signal.signal(number, lambda number, _: os.kill(pid, number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
code = int(channel.recv(100))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
