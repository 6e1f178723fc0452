"""Sends packets into a0 or c0, and says with which source MAC each of them comes out of b1.

A line of input has a word for each packet: the letter of its device, and its bytes in hexadecimal. A line of output has
a number for each. See nftables.fixture.ts.
"""
import os
import select
import socket
import struct
import sys
import time

ETH_P_ALL = 3
BATCH = 32
PATIENCE = 10.0 * float(os.environ.get("TEST_PATIENCE", "1"))


def packet_socket(name, protocol):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    end.bind((name, protocol))
    return end


SENDERS = {"a": packet_socket("a0", 0), "c": packet_socket("c0", 0)}
RECEIVER = packet_socket("b1", ETH_P_ALL)


def frame_of(number, packet):
    ethertype = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return b"\x02\xfa" + struct.pack(">I", number) + b"\x02\xff\xff\xff\xff\xff" + ethertype + packet


def receive(rules, missing):
    """Takes what has come out; what is still missing afterwards."""
    deadline = time.monotonic() + PATIENCE
    while missing > 0:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([RECEIVER], [], [], left)[0]:
            break
        frame = RECEIVER.recv(65535)
        if frame[:2] == b"\x02\xfa":
            number = struct.unpack(">I", frame[2:6])[0]
            if rules[number] is None:
                missing -= 1
            rules[number] = struct.unpack(">H", frame[10:12])[0]
    return missing


for line in sys.stdin:
    words = line.split()
    rules = [None] * len(words)
    missing = 0
    for number, word in enumerate(words):
        SENDERS[word[0]].send(frame_of(number, bytes.fromhex(word[1:])))
        missing += 1
        if missing >= BATCH:
            missing = receive(rules, missing)
            if missing:
                break
    missing = receive(rules, missing)
    lost = [str(number) for number, rule in enumerate(rules) if rule is None]
    print("error: lost " + ",".join(lost) if lost else " ".join(map(str, rules)), flush=True)
