"""Who holds a socket."""

import os
import socket
import threading

import pytest

from kacap.sockets.processes import holders, name_of

PR_SET_NAME = 15


def test_a_socket_of_this_process_is_found_by_its_inode():
    with socket.socket() as sock:
        inode = os.fstat(sock.fileno()).st_ino
        holder = holders().by_inode[inode]
        assert (holder.pid, holder.fd, holder.comm) == (os.getpid(), sock.fileno(), name_of(os.getpid()))


def test_only_one_process_is_looked_into_when_asked(victim):
    other = victim()
    assert {holder.pid for holder in holders(other.pid).by_inode.values()} == {other.pid}
    assert len(holders(other.pid).by_inode) == 3


@pytest.mark.slow
def test_a_process_that_is_gone_holds_nothing(victim):
    gone = victim()
    gone.process.stdin.close()
    gone.process.wait(10)
    assert holders(gone.pid).by_inode == {}


@pytest.mark.slow
def test_a_hostile_process_name_is_shown_without_its_control_characters(victim):
    other = victim()
    other.do(f"import ctypes; ctypes.CDLL(None).prctl({PR_SET_NAME}, b'\\x1b[31m\\nroot\\xff')")
    assert name_of(other.pid) == "?[31m?root\N{REPLACEMENT CHARACTER}"


@pytest.mark.slow
def test_sockets_that_come_and_go_do_not_disturb_a_scan():
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            for sock in [socket.socket() for _ in range(50)]:
                sock.close()

    busy = threading.Thread(target=churn)
    busy.start()
    try:
        with socket.socket() as kept:
            inode = os.fstat(kept.fileno()).st_ino
            assert all(inode in holders().by_inode for _ in range(50))
    finally:
        stop.set()
        busy.join()


@pytest.mark.slow
def test_a_process_of_another_user_is_counted_as_refused(victim, as_nobody):
    other = victim()
    assert as_nobody(lambda: [holders(other.pid).by_inode, holders(other.pid).refused]) == [{}, 1]
