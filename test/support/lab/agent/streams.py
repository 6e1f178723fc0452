"""
A stream: a connection that sends without waiting for answers, so that data is on its way in both directions all the time,
and that the server echoes. Both ends' bytes are hashed; `wrong` says that they differ at the end.

`count`, `sent` and `received` are in pieces of `size` bytes, one of which is sent every `intervalMs`, or later if the
connection does not take it: what was held up is not caught up with.
"""

import errno
import hashlib

from flows import TOKEN_BYTES, TcpFlow

READ_BYTES = 262144


class StreamFlow(TcpFlow):
    def open(self) -> None:
        super().open()
        self.piece = (self.token * (self.size // TOKEN_BYTES)).encode()
        self.sent_hash = hashlib.sha256()
        self.received_hash = hashlib.sha256()
        self.sent_bytes = 0
        self.received_bytes = 0

    def next(self) -> None:
        self.give()

    def give(self) -> None:
        """Sends the next piece if the one before has gone."""
        if self.done:
            return
        if not self.outgoing and self.sent < self.count and not self.stopping:
            self.outgoing = self.piece
            self.sent += 1
        if not self.push_some():
            return
        if not self.outgoing and (self.sent >= self.count or self.stopping):
            return
        self.loop.at(self.loop.now() + self.interval, self.give)

    def push_some(self) -> bool:
        """False if the connection is lost."""
        try:
            while self.outgoing:
                sent = self.socket.send(self.outgoing)
                self.sent_hash.update(self.outgoing[:sent])
                self.sent_bytes += sent
                self.outgoing = self.outgoing[sent:]
        except BlockingIOError:
            pass
        except OSError as error:
            self.finish(errno.errorcode.get(error.errno, str(error.errno)))
            return False
        return True

    def readable(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.finish(errno.errorcode.get(error.errno, str(error.errno)))
            return
        if not data:
            self.finish("EOF")
            return
        now = self.loop.now()
        self.longest_gap = max(self.longest_gap, now - self.last_progress)
        self.last_progress = now
        self.received_hash.update(data)
        self.received_bytes += len(data)
        self.received = self.received_bytes // self.size

    def tick(self) -> None:
        if self.done:
            return
        now = self.loop.now()
        if not self.started:
            self.started = True
            code = self.socket.connect_ex((self.destination, self.destination_port))
            if code not in (0, errno.EINPROGRESS):
                self.finish(errno.errorcode.get(code, str(code)))
                return
            self.loop.read_and_write(self.socket, self.connected)
        ending = self.stopping or self.sent >= self.count
        if ending and not self.outgoing and self.sent_bytes > 0 and self.received_bytes >= self.sent_bytes:
            if self.received_hash.digest() != self.sent_hash.digest():
                self.wrong += 1
            self.finish(None)
            return
        if now - self.last_progress > self.grace:
            self.finish(self.error or "ETIMEDOUT")
            return
        self.loop.at(now + min(0.2, self.grace), self.tick)
