"""Run classic BPF programs over frames (McCanne and Jacobson 1993; libpcap's bpf_filter and bpf_validate)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.records import Number
from kacap.kernels import entry, kernel

INSTRUCTION = np.dtype([("code", "<u2"), ("jt", "u1"), ("jf", "u1"), ("k", "<u4")])

LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)  # code & 0x07
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0  # code & 0xe0 of a load
HALF, BYTE = 0x08, 0x10  # code & 0x18 of a load; 0 is a word
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR = range(0x00, 0xB0, 0x10)  # code & 0xf0
JA, JEQ, JGT, JGE, JSET = range(0x00, 0x50, 0x10)  # code & 0xf0
FROM_X, RETURN_A, TXA = 0x08, 0x10, 0x80
WORDS = 16  # of scratch memory
STEPS = 1 << 16  # far more than any frame needs: libpcap's loops end with the headers that they follow
U32 = 0xFFFFFFFF
REJECT = -1  # in place of an unsigned value: the frame does not match

LOADS = {LD: (IMM, ABS, IND, MEM, LEN), LDX: (IMM, MEM, LEN, MSH)}


def fault_in(program: NDArray[np.void]) -> str | None:
    """Return why ``program`` (dtype INSTRUCTION) must not run: an unknown code, a jump or memory out of range."""
    if len(program) == 0 or int(program[-1]["code"]) & 7 != RET:
        return "the program does not end with a return"
    for at, (code, jt, jf, k) in enumerate(program.tolist()):
        kind, operation = code & 7, code & 0xF0
        bad = (
            (kind in LOADS and (code & 0xE0) not in LOADS[kind])
            or (kind in LOADS and (code & 0xE0) == ABS and k > 0x7FFFFFFF)  # not packet data: the kernel's own fields
            or (kind == ALU and (operation > XOR or (operation in (DIV, MOD) and not code & FROM_X and k == 0)))
            or (kind == JMP and not _jump_is_within(operation, at + 1, (jt, jf, k), len(program)))
            or ((kind in (ST, STX) or (kind in LOADS and (code & 0xE0) == MEM)) and k >= WORDS)
            or code > 0xFF
        )
        if bad:
            return f"instruction {at} (code {code:#x}, k {k:#x}) is not one that can run here"
    return None


def _jump_is_within(operation: int, after: int, distances: tuple[int, int, int], length: int) -> bool:
    """Return whether a jump at ``after - 1`` stays in the program: back only by JA, as ``protochain`` does."""
    forward = signed(distances[2]) if operation == JA else max(distances[:2])
    return operation <= JSET and 0 <= after + forward < length


def signed(k: Number) -> Number:
    """Return the 32-bit two's complement number that the unsigned ``k`` stands for."""
    return k - (1 << 32) if k > 0x7FFFFFFF else k


_signed = kernel(signed)


@kernel
def fetch(data: NDArray[np.uint8], at: Number, size: Number, end: Number) -> Number:
    """Return the big-endian number of ``size`` bytes at ``at``, or REJECT where it reaches beyond ``end``."""
    if at + size > end:
        return REJECT
    value = np.int64(0)
    for i in range(at, at + size):
        value = value << 8 | np.int64(data[i])
    return value


@kernel
def compute(operation: Number, a: Number, b: Number) -> Number:
    """Return the 32-bit result of an ALU operation, or REJECT for a division by zero."""
    if operation == ADD:
        return (a + b) & U32
    if operation == SUB:
        return (a - b) & U32
    if operation == MUL:  # the product's low half, without the 64-bit overflow
        return (a * (b & 0xFFFF) + ((a * (b >> 16) & 0xFFFF) << 16)) & U32
    if operation == DIV:
        return a // b if b != 0 else REJECT
    if operation == MOD:
        return a % b if b != 0 else REJECT
    if operation == OR:
        return a | b
    if operation == AND:
        return a & b
    if operation == XOR:
        return a ^ b
    if operation == LSH:
        return (a << b) & U32 if b < 32 else 0
    if operation == RSH:
        return a >> b if b < 32 else 0
    return -a & U32  # NEG


@kernel
def jumps(operation: Number, a: Number, b: Number) -> Number:
    """Return whether a conditional jump takes its true branch."""
    if operation == JEQ:
        return a == b
    if operation == JGT:
        return a > b
    if operation == JGE:
        return a >= b
    return a & b != 0  # JSET


@kernel
def run(
    program: NDArray[np.void],
    data: NDArray[np.uint8],
    start: Number,
    captured: Number,
    wire: Number,
    memory: NDArray[np.int64],
) -> Number:
    """Return whether a valid program accepts the frame ``data[start:start + captured]`` of ``wire`` bytes."""
    end = start + captured
    a, x, at = np.int64(0), np.int64(0), np.int64(0)
    for _ in range(STEPS):
        code, k = np.int64(program[at]["code"]), np.int64(program[at]["k"])
        kind, mode, operation = code & 0x07, code & 0xE0, code & 0xF0
        operand = x if code & FROM_X else k
        at += 1
        if kind == LD or kind == LDX:  # noqa: SIM109
            value = k
            if mode == ABS or mode == IND:  # noqa: SIM109
                size = np.int64(1) if code & BYTE else np.int64(2) if code & HALF else np.int64(4)
                value = fetch(data, start + k + (x if mode == IND else 0), size, end)
            elif mode == MSH:
                value = fetch(data, start + k, np.int64(1), end)
                if value != REJECT:
                    value = (value & 0x0F) << 2
            elif mode == MEM:
                value = memory[k]
            elif mode == LEN:
                value = wire
            if value == REJECT:
                return False
            if kind == LD:
                a = value
            else:
                x = value
        elif kind == JMP:
            if operation == JA:
                at += _signed(k)
            else:
                at += np.int64(program[at - 1]["jt"] if jumps(operation, a, operand) else program[at - 1]["jf"])
        elif kind == ALU:
            a = compute(operation, a, operand)
            if a == REJECT:
                return False
        elif kind == RET:
            return (a if code & RETURN_A else k) != 0
        elif kind == ST:
            memory[k] = a
        elif kind == STX:
            memory[k] = x
        elif code & TXA:
            a = x
        else:
            x = a
    return False


def match_frames(
    program: NDArray[np.void],
    data: NDArray[np.uint8],
    frames: NDArray[np.void],
    link_type: int,
    kept: NDArray[np.bool_],
) -> None:
    """Set ``kept`` for each frame (dtype FRAME) of ``link_type`` to whether ``program`` accepts it."""
    _match(program, data, frames, link_type, kept, np.zeros(WORDS, np.int64))


@entry
def _match(
    program: NDArray[np.void],
    data: NDArray[np.uint8],
    frames: NDArray[np.void],
    link_type: int,
    kept: NDArray[np.bool_],
    memory: NDArray[np.int64],
) -> None:
    """Run the program on each frame, with its words of memory."""
    for i in range(len(frames)):
        frame = frames[i]
        if frame["link_type"] == link_type:
            captured, wire = np.int64(frame["captured_len"]), np.int64(frame["wire_len"])
            kept[i] = run(program, data, frame["offset"], captured, wire, memory)
