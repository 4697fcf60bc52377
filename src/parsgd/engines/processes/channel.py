"""Messages between the driver and a worker process on the same machine, over a socket pair.

An open file may accompany a message.  The wire format is a header (eight bytes
for the length, one for the number of files) and a pickle.  The driver's end never blocks.  Data that the socket does
not accept are queued, so that two busy ends do not deadlock.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import socket
import struct
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

M = TypeVar("M")
_HEAD = struct.Struct("<QB")
_READ_BYTES = 1 << 18
# Maximum number of files per read; more arrive with the next one.
_MAX_FILES = 64
# Report a broken connection as an error, not as a signal.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
# Do not leak files into programs started in the meantime.
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Channel(Generic[M]):
    """One end of a connection, at which messages of type ``M`` arrive.

    ``ended`` is True when no more messages will arrive: the other end was closed or its process has exited.  ``pull``
    still returns messages sent before that.  On a blocking socket ``flush`` returns when all data are written, and
    ``pull`` when at least one message has arrived.
    """

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.ended: bool = False
        self.outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self.incoming: bytearray = bytearray()
        self.files: deque[int] = deque()

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def waiting(self) -> bool:
        """True if data remain to be written."""
        return bool(self.outgoing) and not self.ended

    def put(self, message: object, file: int | None = None) -> None:
        """Queue a message, with a duplicate of the open file that accompanies it; ``flush`` writes it."""
        body = pickle.dumps(message, protocol=5)
        files = [] if file is None else [os.dup(file)]
        self.outgoing.append((memoryview(_HEAD.pack(len(body), len(files)) + body), files))

    def flush(self) -> None:
        """Write the queued data that the socket accepts."""
        files: list[int] = []
        try:
            while self.outgoing:
                rest, files = self.outgoing.popleft()
                try:
                    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", *files))] if files else []
                    written = self.sock.sendmsg([rest], ancillary, _NO_SIGNAL)
                except BlockingIOError:
                    self.outgoing.appendleft((rest, files))
                    return
                _close(files)  # sent with the first byte
                if written < len(rest):
                    self.outgoing.appendleft((rest[written:], []))
        except OSError:
            # the other end is closed; its earlier messages remain to be read
            _close(files)
            self._drop_outgoing()

    def readable(self) -> bool:
        """Return True if ``pull`` would not wait."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def pull(self) -> list[tuple[M, int]]:
        """Return the messages that have arrived, each with its file, or -1; the receiver closes the files."""
        messages: list[tuple[M, int]] = []
        while not self.ended:
            try:
                self._read()
            except BlockingIOError:
                break
            except OSError:
                self.ended = True
            messages += self._parsed()
            if messages and self.sock.getblocking():
                break
        return messages

    def _read(self) -> None:
        buffer = socket.CMSG_SPACE(_MAX_FILES * struct.calcsize("i"))
        data, ancillary, flags, _ = self.sock.recvmsg(_READ_BYTES, buffer, _CLOSE_ON_EXEC)
        for level, kind, packed in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                whole = len(packed) // struct.calcsize("i") * struct.calcsize("i")
                self.files.extend(number for (number,) in struct.iter_unpack("i", packed[:whole]))
        if flags & socket.MSG_CTRUNC:
            raise OSError("the process has too many open files (ulimit -n) to take another")
        self.ended = not data
        self.incoming += data

    def _parsed(self) -> list[tuple[M, int]]:
        messages: list[tuple[M, int]] = []
        at = 0
        while len(self.incoming) - at >= _HEAD.size:
            length, n_files = _HEAD.unpack_from(self.incoming, at)
            end = at + _HEAD.size + length
            if len(self.incoming) < end:
                break
            body = memoryview(self.incoming)[at + _HEAD.size : end]
            messages.append((pickle.loads(body), self.files.popleft() if n_files else -1))
            body.release()
            at = end
        del self.incoming[:at]
        return messages

    def close(self) -> None:
        """Close the socket and the files that were not taken."""
        self.ended = True
        self._drop_outgoing()
        self.sock.close()
        _close(self.files)
        self.files.clear()

    def _drop_outgoing(self) -> None:
        while self.outgoing:
            _close(self.outgoing.popleft()[1])


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)


def _beyond_standard(sock: socket.socket) -> socket.socket:
    """Return the socket with a file number above those of the standard streams, one of which may be closed."""
    if sock.fileno() > 2:
        return sock
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the driver's non-blocking end and the other end."""
    ours, theirs = map(_beyond_standard, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    ours.setblocking(False)
    return ours, theirs
