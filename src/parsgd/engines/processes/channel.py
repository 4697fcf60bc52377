"""Messages between a driver and a process on the same machine, over a pair of sockets.

A message is a tuple whose first element says what it is; an open file may go with it.  On the wire it is a head, eight
bytes of length and one that counts files, and a pickle.  The driver's end never blocks: what the socket does not take
waits until it does, so that two ends that both have much to say do not wait for each other.
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

_HEAD = struct.Struct("<QB")
_READ_BYTES = 1 << 18
# Files that one read may bring: more come with the next one.
_MOST_FILES = 64
# A broken line is an error that we see, never a signal.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
# Files do not leak into programs that somebody starts meanwhile.
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Channel:
    """One end of the line.

    ``ended``: nothing will come any more, because the other end was closed or its process is gone; whatever it had said
    before that is still handed out by ``pull``.  On a blocking socket ``flush`` returns when all is written and
    ``pull`` when at least one message has come.
    """

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.ended = False
        self.outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self.incoming = bytearray()
        self.files: deque[int] = deque()

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def waiting(self) -> bool:
        """Whether something is still to be written."""
        return bool(self.outgoing) and not self.ended

    def put(self, message: tuple, file: int | None = None) -> None:
        """Queue a message, and a copy of the open file that goes with it; ``flush`` writes it."""
        body = pickle.dumps(message, protocol=5)
        files = [] if file is None else [os.dup(file)]
        self.outgoing.append((memoryview(_HEAD.pack(len(body), len(files)) + body), files))

    def flush(self) -> None:
        """Write what the socket takes."""
        try:
            while self.outgoing:
                rest, files = self.outgoing.popleft()
                try:
                    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", *files))] if files else []
                    written = self.sock.sendmsg([rest], ancillary, _NO_SIGNAL)
                except BlockingIOError:
                    self.outgoing.appendleft((rest, files))
                    return
                _close(files)  # they went with the first byte
                if written < len(rest):
                    self.outgoing.appendleft((rest[written:], []))
        except OSError:
            # nobody reads; what was said before is yet to be read, and then the end of the line
            _close(files)
            self._drop_outgoing()

    def readable(self) -> bool:
        """Whether ``pull`` would find something now."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def pull(self) -> list[tuple[tuple, int | None]]:
        """The messages that have come, with their files; the receiver closes these."""
        messages: list[tuple[tuple, int | None]] = []
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
        room = socket.CMSG_SPACE(_MOST_FILES * struct.calcsize("i"))
        data, ancillary, flags, _ = self.sock.recvmsg(_READ_BYTES, room, _CLOSE_ON_EXEC)
        for level, kind, packed in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                whole = len(packed) // struct.calcsize("i") * struct.calcsize("i")
                self.files.extend(number for (number,) in struct.iter_unpack("i", packed[:whole]))
        if flags & socket.MSG_CTRUNC:
            raise OSError("the process has too many open files (ulimit -n) to take another")
        self.ended = not data
        self.incoming += data

    def _parsed(self) -> list[tuple[tuple, int | None]]:
        messages, at = [], 0
        while len(self.incoming) - at >= _HEAD.size:
            length, n_files = _HEAD.unpack_from(self.incoming, at)
            end = at + _HEAD.size + length
            if len(self.incoming) < end:
                break
            body = memoryview(self.incoming)[at + _HEAD.size : end]
            messages.append((pickle.loads(body), self.files.popleft() if n_files else None))
            body.release()
            at = end
        del self.incoming[:at]
        return messages

    def close(self) -> None:
        """Close the socket, and files that nobody took."""
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
    """The socket with a number beyond those of the standard streams: one of them may have been closed."""
    if sock.fileno() > 2:
        return sock
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def channel_pair() -> tuple[Channel, socket.socket]:
    """The driver's end, which does not block, and a socket for the other."""
    ours, theirs = map(_beyond_standard, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    ours.setblocking(False)
    return Channel(ours), theirs
