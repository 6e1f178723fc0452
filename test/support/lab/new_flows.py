"""
Begins new UDP flows at a rate, each from a port of its own, and counts the answers of an echo server.

    new_flows.py NAME SOURCE DESTINATION PORT FIRST_PORT RATE SECONDS

Every datagram says who sent it: an answer to somebody else, who may have the same address and ports, is `foreign`. Every
tenth flow stays open until the end and sends once more then. Prints one JSON object.
"""

import json
import select
import socket
import sys
import time

KEEP_SECONDS = 3.0
LAST_SECONDS = 3.0


class Senders:
    def __init__(self, name: str, source: str, destination: str, port: int) -> None:
        self.name, self.source, self.target = name, source, (destination, port)
        self.poll = select.epoll()
        self.open: dict[int, tuple[socket.socket, int, float]] = {}
        self.answered: set[bytes] = set()
        self.foreign = 0

    def begin(self, port: int) -> int:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.setblocking(False)
        sender.bind((self.source, port))
        self.open[sender.fileno()] = (sender, port, time.monotonic())
        self.poll.register(sender, select.EPOLLIN)
        self.send(sender, port, 1)
        return sender.fileno()

    def message(self, port: int, number: int) -> bytes:
        return f"{self.name} {port} {number}".encode()

    def send(self, sender: socket.socket, port: int, number: int) -> None:
        try:
            sender.sendto(self.message(port, number), self.target)
        except OSError:
            pass

    def take(self, seconds: float) -> None:
        for descriptor, _ in self.poll.poll(max(0.0, seconds)):
            sender, port, _ = self.open[descriptor]
            try:
                data = sender.recv(2048)
            except OSError:
                continue
            if data in (self.message(port, 1), self.message(port, 2)):
                self.answered.add(data)
            else:
                self.foreign += 1

    def close(self, descriptor: int) -> None:
        sender = self.open.pop(descriptor)[0]
        self.poll.unregister(sender)
        sender.close()


def main() -> None:
    name, source, destination = sys.argv[1:4]
    port, first, rate, seconds = (int(word) for word in sys.argv[4:8])
    senders = Senders(name, source, destination, port)
    kept: list[int] = []
    recent: list[int] = []
    begun = 0
    print("ready", flush=True)
    start = time.monotonic()
    while begun < rate * seconds:
        now = time.monotonic()
        while begun < min((now - start) * rate, rate * seconds):
            descriptor = senders.begin(first + begun)
            (kept if begun % 10 == 0 else recent).append(descriptor)
            begun += 1
        while recent and now - senders.open[recent[0]][2] > KEEP_SECONDS:
            senders.close(recent.pop(0))
        senders.take(0.002)
    end = time.monotonic() + LAST_SECONDS
    while time.monotonic() < end:
        senders.take(0.01)
    first_answers = len(senders.answered)
    again = 0
    for descriptor in kept:
        sender, its_port, _ = senders.open[descriptor]
        if senders.message(its_port, 1) in senders.answered:
            senders.send(sender, its_port, 2)
            again += 1
    end = time.monotonic() + LAST_SECONDS
    while time.monotonic() < end:
        senders.take(0.01)
    print(
        json.dumps(
            {
                "begun": begun,
                "answered": first_answers,
                "again": again,
                "answeredAgain": len(senders.answered) - first_answers,
                "foreign": senders.foreign,
                "seconds": round(time.monotonic() - start, 1),
            }
        )
    )


main()
