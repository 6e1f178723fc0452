"""
Clients: one flow each, from a namespace, address and port that are given, so that many sites can send the same
five-tuple at the same moment. Every message carries the flow's token, and nothing else that could be another's:

    UDP, ICMP    token (32) | serial number, hexadecimal (16) | token, again and again
    TCP          token, again and again

A flow is done when it has sent `count` messages and has all answers, or none has come for `graceMs`.
"""

import errno
import socket
import struct

from loop import Loop
from namespaces import within
from packets import ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY, echo_request, udp_fragments

TOKEN_BYTES = 32
SERIAL_BYTES = 16
# Between one fragment of a datagram and the next, so that those of all sites come in between.
FRAGMENT_GAP_SECONDS = 0.004


def message(token: str, serial: int, size: int) -> bytes:
    text = f"{token}{serial:0{SERIAL_BYTES}x}"
    repeats = max(0, size - len(text)) // TOKEN_BYTES + 1
    return (text + token * repeats)[: max(size, len(text))].encode()


class Flow:
    """What all kinds share: pace, counts, and the end."""

    def __init__(self, loop: Loop, job: dict) -> None:
        self.loop = loop
        self.kind = job["kind"]
        self.family = job["family"]
        self.namespace = job["namespace"]
        self.source = job["source"]
        self.source_port = job["sourcePort"]
        self.destination = job["destination"]
        self.destination_port = job.get("destinationPort", 0)
        self.token = job["token"]
        self.count = job["count"]
        self.interval = job["intervalMs"] / 1000
        self.size = job["size"]
        self.grace = job["graceMs"] / 1000
        self.identification = job.get("identification", 0)
        self.hop_limit = job.get("hopLimit")
        self.dont_fragment = job.get("dontFragment", False)
        self.domain = socket.AF_INET if self.family == 4 else socket.AF_INET6
        self.sent = 0
        self.received = 0
        self.wrong = 0
        self.duplicates = 0
        self.error: str | None = None
        self.done = False
        self.stopping = False
        self.open_serials: set[int] = set()
        self.last_progress = 0.0
        self.longest_gap = 0.0
        self.socket: socket.socket | None = None

    def bound(self, kind: int, protocol: int = 0) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(self.domain, kind | socket.SOCK_NONBLOCK, protocol)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.hop_limit is not None:
                if self.family == 4:
                    made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self.hop_limit)
                else:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, self.hop_limit)
            if self.dont_fragment and self.family == 4:
                # IP_MTU_DISCOVER, IP_PMTUDISC_DO
                made.setsockopt(socket.IPPROTO_IP, 10, 2)
            if self.dont_fragment and self.family == 6:
                # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO
                made.setsockopt(socket.IPPROTO_IPV6, 23, 2)
            port = self.source_port if kind != socket.SOCK_RAW else 0
            made.bind((self.source, port))
            return made

        return within(self.namespace, make)

    def start(self, when: float) -> None:
        """Makes the socket now and sends from `when` on."""
        self.last_progress = when
        try:
            self.open()
        except OSError as error:
            self.finish(f"{errno.errorcode.get(error.errno, error.errno)} at start")
            return
        self.loop.at(when, self.tick)

    def open(self) -> None:
        raise NotImplementedError

    def send(self, serial: int) -> None:
        raise NotImplementedError

    def tick(self) -> None:
        if self.done:
            return
        now = self.loop.now()
        if self.sent < self.count and not self.stopping:
            serial = self.sent
            self.sent += 1
            self.open_serials.add(serial)
            try:
                self.send(serial)
            except OSError as error:
                # What an ICMP error or a full buffer does to one message: lost, as on the wire.
                if error.errno == errno.EMSGSIZE or self.error is None:
                    self.error = errno.errorcode.get(error.errno, str(error.errno))
            self.loop.at(now + self.interval, self.tick)
            return
        if not self.open_serials or now - self.last_progress > self.grace:
            self.finish(None)
            return
        self.loop.at(now + min(0.02, self.grace), self.tick)

    def answered(self, serial: int) -> None:
        now = self.loop.now()
        self.longest_gap = max(self.longest_gap, now - self.last_progress)
        self.last_progress = now
        if serial in self.open_serials:
            self.open_serials.discard(serial)
            self.received += 1
        else:
            self.duplicates += 1

    def take(self, data: bytes) -> None:
        """An answer: it must be, byte for byte, a message of this flow."""
        try:
            serial = int(data[TOKEN_BYTES : TOKEN_BYTES + SERIAL_BYTES], 16)
        except ValueError:
            serial = -1
        if serial < 0 or data != message(self.token, serial, self.size):
            self.wrong += 1
        else:
            self.answered(serial)

    def finish(self, error: str | None) -> None:
        if self.done:
            return
        self.done = True
        if error is not None:
            self.error = error
        if self.socket is not None:
            self.loop.forget(self.socket)
            self.socket.close()

    def result(self) -> dict:
        return {
            "done": self.done,
            "sent": self.sent,
            "received": self.received,
            "wrong": self.wrong,
            "duplicates": self.duplicates,
            "longestGapMs": round(self.longest_gap * 1000, 1),
            "error": self.error,
        }


class UdpFlow(Flow):
    def open(self) -> None:
        self.socket = self.bound(socket.SOCK_DGRAM)
        self.loop.read(self.socket, self.readable)

    def send(self, serial: int) -> None:
        data = message(self.token, serial, self.size)
        self.socket.sendto(data, (self.destination, self.destination_port))

    def readable(self) -> None:
        while True:
            try:
                data, peer = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError as error:
                self.error = errno.errorcode.get(error.errno, str(error.errno))
                return
            if peer[1] != self.destination_port:
                self.wrong += 1
            self.take(data)


class FragmentsFlow(UdpFlow):
    """UDP datagrams cut by hand, every one with the same identification as the other sites' ones."""

    def open(self) -> None:
        super().open()
        # What goes out has its own IP header; the kernel does not number it anew.
        self.raw = within(
            self.namespace, lambda: socket.socket(self.domain, socket.SOCK_RAW, socket.IPPROTO_RAW)
        )

    def send(self, serial: int) -> None:
        packets = udp_fragments(
            self.family,
            self.source,
            self.source_port,
            self.destination,
            self.destination_port,
            self.identification + serial,
            message(self.token, serial, self.size),
        )
        now = self.loop.now()
        for index, packet in enumerate(packets):
            self.loop.at(now + index * FRAGMENT_GAP_SECONDS, lambda packet=packet: self.put(packet))

    def put(self, packet: bytes) -> None:
        if self.done:
            return
        try:
            self.raw.sendto(packet, (self.destination, 0))
        except OSError as error:
            self.error = errno.errorcode.get(error.errno, str(error.errno))

    def finish(self, error: str | None) -> None:
        super().finish(error)
        if hasattr(self, "raw"):
            self.raw.close()


class IcmpFlow(Flow):
    """Echo requests; the source port is the identifier."""

    def open(self) -> None:
        protocol = socket.IPPROTO_ICMP if self.family == 4 else socket.IPPROTO_ICMPV6
        self.socket = self.bound(socket.SOCK_RAW, protocol)
        self.loop.read(self.socket, self.readable)

    def send(self, serial: int) -> None:
        data = message(self.token, serial, self.size)
        packet = echo_request(self.family, self.source_port, serial, data)
        self.socket.sendto(packet, (self.destination, 0))

    def readable(self) -> None:
        while True:
            try:
                packet, peer = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError as error:
                self.error = errno.errorcode.get(error.errno, str(error.errno))
                return
            # A raw IPv4 socket gives the IP header too, and both give everybody's messages.
            at = (packet[0] & 15) * 4 if self.family == 4 else 0
            if len(packet) < at + 8:
                continue
            kind, _, _, identifier, _ = struct.unpack_from("!BBHHH", packet, at)
            wanted = ICMP_ECHO_REPLY if self.family == 4 else ICMPV6_ECHO_REPLY
            if kind != wanted or identifier != self.source_port or peer[0] != self.destination:
                continue
            self.take(packet[at + 8 :])


class TcpFlow(Flow):
    """A connection that sends a message of whole tokens and waits for its echo before it sends the next."""

    def open(self) -> None:
        self.size = max(1, self.size // TOKEN_BYTES) * TOKEN_BYTES
        self.pending = b""
        self.outgoing = b""
        self.started = False
        self.socket = self.bound(socket.SOCK_STREAM)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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
        if not self.open_serials and (self.sent >= self.count or self.stopping):
            self.finish(None)
            return
        if now - self.last_progress > self.grace:
            self.finish(self.error or "ETIMEDOUT")
            return
        self.loop.at(now + min(0.2, self.grace), self.tick)

    def connected(self) -> None:
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code != 0:
            self.finish(errno.errorcode.get(code, str(code)))
            return
        self.loop.only_read(self.socket, self.readable)
        self.next()

    def next(self) -> None:
        if self.done:
            return
        if self.sent >= self.count or self.stopping:
            self.finish(None)
            return
        self.open_serials.add(self.sent)
        self.sent += 1
        self.outgoing = (self.token * (self.size // TOKEN_BYTES)).encode()
        self.push()

    def push(self) -> None:
        try:
            sent = self.socket.send(self.outgoing)
            self.outgoing = self.outgoing[sent:]
        except BlockingIOError:
            pass
        except OSError as error:
            self.finish(errno.errorcode.get(error.errno, str(error.errno)))
            return
        if self.outgoing:
            self.loop.at(self.loop.now() + 0.002, self.push)

    def readable(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.finish(errno.errorcode.get(error.errno, str(error.errno)))
            return
        if not data:
            self.finish("EOF")
            return
        self.pending += data
        if len(self.pending) < self.size:
            return
        if self.pending != (self.token * (self.size // TOKEN_BYTES)).encode():
            self.wrong += 1
        self.pending = b""
        self.answered(self.sent - 1)
        self.loop.at(self.loop.now() + self.interval, self.next)
