"""Messages between the driver and a worker process on the same machine, over a socket pair.

The wire format is the length, in eight bytes, and a pickle.  The driver's end never blocks.  Data that the socket does
not accept are queued, so that two busy ends do not deadlock.
"""

from __future__ import annotations

import fcntl
import pickle
import select
import socket
import struct
from typing import Generic, TypeVar

M = TypeVar("M")
_HEAD = struct.Struct("<Q")
_READ_BYTES = 1 << 18
# Report a broken connection as an error, not as a signal.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


class Channel(Generic[M]):
    """One end of a connection, at which messages of type ``M`` arrive.

    ``ended`` is True when no more messages will arrive: the other end was closed or its process has exited.  ``pull``
    still returns messages sent before that.  On a blocking socket ``send`` returns when all data are written, and
    ``pull`` when at least one message has arrived.
    """

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.ended: bool = False
        self.outgoing: bytearray = bytearray()
        self.incoming: bytearray = bytearray()

    def send(self, message: object) -> None:
        """Send a message, now or as soon as the socket accepts it."""
        body = pickle.dumps(message, protocol=5)
        self.outgoing += _HEAD.pack(len(body))
        self.outgoing += body
        self.flush()

    def flush(self) -> None:
        """Write the queued data that the socket accepts."""
        try:
            while self.outgoing:
                del self.outgoing[: self.sock.send(self.outgoing, _NO_SIGNAL)]
        except BlockingIOError:
            pass
        except OSError:
            # the other end is closed; its earlier messages remain to be read
            self.outgoing.clear()

    def readable(self) -> bool:
        """Return True if ``pull`` would not wait."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def pull(self) -> list[M]:
        """Return the messages that have arrived."""
        messages: list[M] = []
        while not (self.ended or messages and self.sock.getblocking()):
            try:
                data = self.sock.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.ended = not data
            self.incoming += data
            while (end := self._end_of_message()) <= len(self.incoming):
                messages.append(pickle.loads(self.incoming[_HEAD.size : end]))
                del self.incoming[:end]
        return messages

    def _end_of_message(self) -> int:
        """Return the number of bytes up to the end of the first message, or of its header."""
        if len(self.incoming) < _HEAD.size:
            return _HEAD.size
        return _HEAD.size + _HEAD.unpack_from(self.incoming)[0]

    def close(self) -> None:
        self.ended = True
        self.outgoing.clear()
        self.sock.close()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the driver's non-blocking end and the other end."""
    ours, theirs = map(_beyond_standard, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    ours.setblocking(False)
    return ours, theirs


def _beyond_standard(sock: socket.socket) -> socket.socket:
    """Return the socket with a file number above those of the standard streams, one of which may be closed."""
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))
