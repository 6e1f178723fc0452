"""
Captures: every frame that a device receives and sends, in two pcap files (in, out). The sockets are there and the
files begun when the command is answered, so nothing that comes later is missed; what the kernel drops is counted.
"""

import socket
import struct

from loop import Loop
from namespaces import within

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
BUFFER_BYTES = 64 << 20
PCAP_NANOSECONDS = 0xA1B23C4D
LINKTYPES = {"ethernet": 1, "ip": 101}
# 64 KiB GSO packets whole.
SNAP_LENGTH = 70000


class Capture:
    def __init__(self, loop: Loop, job: dict) -> None:
        self.loop = loop
        self.path = job["path"]
        self.lost = 0
        self.frames = 0
        self.files = [open(f"{self.path}.{way}.pcap", "wb") for way in ("in", "out")]
        for file in self.files:
            file.write(struct.pack("<IHHIIII", PCAP_NANOSECONDS, 2, 4, 0, 0, SNAP_LENGTH, LINKTYPES[job["link"]]))
        self.open(job)

    def open(self, job: dict) -> None:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            made.bind((job["device"], ETH_P_ALL))
            return made

        self.socket = within(job["namespace"], make)
        self.loop.read(self.socket, self.take)

    def follow(self, job: dict) -> None:
        """Goes on with a device that was made anew: a socket stays with the one it was bound to."""
        self.flush()
        self.loop.forget(self.socket)
        self.socket.close()
        self.open(job)

    def take(self, most: int = 256) -> bool:
        """Writes what has come, so many frames at most. False when nothing is left."""
        for _ in range(most):
            try:
                data, ancillary, _, address = self.socket.recvmsg(SNAP_LENGTH, 64)
            except BlockingIOError:
                return False
            except OSError:
                # The device has gone down, which is said once; the socket lives on.
                continue
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2]) if ancillary else (0, 0)
            header = struct.pack("<IIII", seconds, nanoseconds, len(data), len(data))
            self.files[1 if address[2] == PACKET_OUTGOING else 0].write(header + data)
            self.frames += 1
        return True

    def flush(self) -> dict:
        """Everything that has come so far is in the files."""
        while self.take():
            pass
        for file in self.files:
            file.flush()
        statistics = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self.lost += struct.unpack("II", statistics)[1]
        return {"frames": self.frames, "lost": self.lost}

    def close(self) -> None:
        self.loop.forget(self.socket)
        self.socket.close()
        for file in self.files:
            file.close()
