"""Frames lost at a given rate: kacap's ring with the whole analysis behind it, tcpdump, and scapy's engine.

Run as root: python tests/bench/bench_live.py [seconds] [rate ...]. A packet socket in a namespace of its own sends
data of 2,000 connections over a veth pair, many with each sendmmsg(2); each receiver gets the same load in turn.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np

from kacap.lab.process import CLONE_NEWNET, unshare

CONNECTIONS, BURST, PAYLOAD = 2000, 256, 100


class IoVec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(IoVec)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def template(number: int) -> bytes:
    """Return a data segment of one connection: 66 bytes of headers with timestamps as on Linux, then the payload."""
    tcp = struct.pack("!HHIIBBHHH", 10_000 + number, 5432, 1000, 2000, 0x80, 0x18, 500, 0, 0)
    tcp += b"\x01\x01\x08\x0a" + struct.pack("!II", 1, 1) + bytes(PAYLOAD)
    ends = b"\x0a\0\0\1\x0a\0\0\2"
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), number & 0xFFFF, 0x4000, 64, 6, 0) + ends
    return b"\x02\0\0\0\0\2\x02\0\0\0\0\1\x08\0" + ip + tcp


def prepare(memory: np.ndarray) -> ctypes.Array:
    """Return the messages that send the rows of ``memory``."""
    size = memory.shape[1]
    vectors = (IoVec * CONNECTIONS)(*[IoVec(memory.ctypes.data + size * n, size) for n in range(CONNECTIONS)])
    messages = (Message * CONNECTIONS)()
    for message, vector in zip(messages, vectors, strict=True):
        message.vectors, message.count = ctypes.pointer(vector), 1
    return messages


def send(rate: int, seconds: float, told) -> None:
    """Send ``rate`` frames a second, new data in each round; tell how many were sent and how fast."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind(("left", 0))
    memory = np.array([np.frombuffer(template(n), np.uint8) for n in range(CONNECTIONS)])
    sequence, stamp = (memory[:, at : at + 4].view(">u4") for at in (38, 58))
    messages = prepare(memory)
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    size, at, sent, start = ctypes.sizeof(Message), 0, 0, time.monotonic()
    while (now := time.monotonic()) - start < seconds:
        due = int((now - start) * rate) - sent
        if due < 32:
            time.sleep(0.0005)
            continue
        done = sendmmsg(sock.fileno(), ctypes.byref(messages, at * size), min(due, BURST, CONNECTIONS - at), 0)
        if done > 0:
            sent, at = sent + done, (at + done) % CONNECTIONS
        if at == 0:
            sequence += PAYLOAD
            stamp += 1
    told.send((sent, sent / (time.monotonic() - start)))


def load(rate: int, seconds: float) -> tuple[int, float]:
    """Run the sender in a process of its own and return what it tells."""
    here, there = multiprocessing.Pipe()
    sender = multiprocessing.Process(target=send, args=(rate, seconds, there))
    sender.start()
    told = here.recv()
    sender.join()
    return told


def with_kacap(engine: str, rate: int, seconds: float) -> tuple[int, float, int, str]:
    """Return (sent, rate, captured, processor time) with ``kacap live`` of one engine beside the load."""
    words = [sys.executable, "-m", "kacap", "live", "-q", "-i", "right", "--engine", engine, "tcp"]
    return beside(words, "listening on", rate, seconds)


def with_tcpdump(rate: int, seconds: float) -> tuple[int, float, int, str]:
    """Return the same for tcpdump writing to nowhere."""
    return beside(["tcpdump", "-i", "right", "-s", "128", "-w", "/dev/null", "tcp"], "listening on", rate, seconds)


def beside(words: list[str], ready: str, rate: int, seconds: float) -> tuple[int, float, int, str]:
    """Start a receiver, send, end it, and read its counters."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    heard = []
    while ready not in (line := process.stderr.readline()):
        assert line, heard
        heard.append(line)
    time.sleep(0.3)
    sent, reached = load(rate, seconds)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    _, _, used = os.wait4(process.pid, 0)
    captured, dropped = (re.search(rf"(\d+) packets? {what}", rest) for what in ("captured", "dropped by kernel"))
    cpu = f"{used.ru_utime + used.ru_stime:.1f} s"
    own = dropped[1] if dropped else "?"
    return sent, reached, int(captured[1]), f"{own} dropped by its own count, {cpu} of processor"


def main() -> None:
    """Print one line for each rate and receiver."""
    options = argparse.ArgumentParser()
    options.add_argument("seconds", nargs="?", type=float, default=10)
    options.add_argument("rates", nargs="*", type=int, default=[20_000, 100_000, 200_000])
    chosen = options.parse_args()
    unshare(CLONE_NEWNET)
    for words in ("link add left type veth peer name right", "link set left up", "link set right up"):
        subprocess.run(["ip", *words.split()], check=True)
    for rate in chosen.rates:
        for name, receiver in (
            ("kacap ring", lambda r, s: with_kacap("ring", r, s)),
            ("tcpdump", with_tcpdump),
            ("kacap scapy", lambda r, s: with_kacap("scapy", r, s)),
        ):
            sent, reached, captured, rest = receiver(rate, chosen.seconds)
            lost = sent - captured
            print(
                f"{rate:>7,}/s wanted, {reached:>9,.0f}/s sent: {name:<12} captured {captured:>9,} of {sent:>9,}, "
                f"lost {lost:,} ({100 * lost / sent:.2f} %); {rest}",
                flush=True,
            )


if __name__ == "__main__":
    main()
