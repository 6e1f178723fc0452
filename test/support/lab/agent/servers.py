"""Servers: echo for TCP and UDP, and HTTP that says who answers and whom it sees."""

import socket

from loop import Loop
from namespaces import within

SO_RCVBUFFORCE = 33
MAX_REQUEST_BYTES = 16384


def _listen(job: dict, kind: int) -> socket.socket:
    domain = socket.AF_INET6 if ":" in job["address"] else socket.AF_INET

    def make() -> socket.socket:
        made = socket.socket(domain, kind | socket.SOCK_NONBLOCK)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if domain == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((job["address"], job["port"]))
        if kind == socket.SOCK_STREAM:
            made.listen(512)
        else:
            # Forced: a hundred sites that ask at once are more than the system's limit holds.
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        return made

    return within(job["namespace"], make)


class Server:
    """Listens in a namespace. Keeps who has asked: address and port, and the first bytes (the token)."""

    def __init__(self, loop: Loop, job: dict) -> None:
        self.loop = loop
        self.name = job["name"]
        self.seen: list[dict] = []
        self.kind = job["kind"]
        self.socket = _listen(job, socket.SOCK_DGRAM if self.kind == "udp" else socket.SOCK_STREAM)
        loop.read(self.socket, self.datagram if self.kind == "udp" else self.accept)

    def note(self, peer: tuple, data: bytes) -> None:
        entry = {"address": peer[0], "port": peer[1], "token": data[:32].decode("latin-1")}
        if entry not in self.seen[-512:]:
            self.seen.append(entry)

    def datagram(self) -> None:
        while True:
            try:
                data, peer = self.socket.recvfrom(65536)
                self.note(peer, data)
                self.socket.sendto(data, peer)
            except BlockingIOError:
                return
            except OSError:
                # What an ICMP error says of an earlier datagram.
                continue

    def accept(self) -> None:
        while True:
            try:
                connection, peer = self.socket.accept()
            except OSError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handler = Http if self.kind == "http" else Echo
            handler(self, connection, peer)


class Connection:
    def __init__(self, server: Server, connection: socket.socket, peer: tuple) -> None:
        self.server = server
        self.socket = connection
        self.peer = peer
        self.outgoing = b""
        server.loop.read(connection, self.readable)

    def readable(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.take(data)

    def take(self, data: bytes) -> None:
        raise NotImplementedError

    def push(self) -> None:
        if not self.outgoing or self.socket.fileno() < 0:
            return
        try:
            sent = self.socket.send(self.outgoing)
            self.outgoing = self.outgoing[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self.outgoing:
            self.server.loop.at(self.server.loop.now() + 0.002, self.push)

    def close(self) -> None:
        self.server.loop.forget(self.socket)
        self.socket.close()


class Echo(Connection):
    noted = False

    def take(self, data: bytes) -> None:
        if not self.noted:
            self.noted = True
            self.server.note(self.peer, data)
        waiting = bool(self.outgoing)
        self.outgoing += data
        if not waiting:
            self.push()


class Http(Connection):
    request = b""

    def take(self, data: bytes) -> None:
        self.request += data
        if b"\r\n\r\n" not in self.request:
            if len(self.request) > MAX_REQUEST_BYTES:
                self.close()
            return
        body = f"{self.server.name} sees you as {self.peer[0]} port {self.peer[1]}\n".encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.request = b""
        self.outgoing = head.encode() + body
        self.push()
        # The client closes: it has been told to, and knows the length.
