"""A wire between two TUN devices in two namespaces: a layer-3 device that is no Ethernet, for `device` tunnels."""

import fcntl
import os
import struct

from loop import Loop
from namespaces import within

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000


def _tun(namespace: str, device: str) -> int:
    def make() -> int:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        return descriptor

    return within(namespace, make)


class Wire:
    """What goes into one end comes out of the other. The devices disappear with the agent."""

    def __init__(self, loop: Loop, job: dict) -> None:
        ends = [_tun(end["namespace"], end["device"]) for end in job["ends"]]
        loop.read(ends[0], lambda: self.carry(ends[0], ends[1]))
        loop.read(ends[1], lambda: self.carry(ends[1], ends[0]))

    @staticmethod
    def carry(source: int, target: int) -> None:
        for _ in range(64):
            try:
                packet = os.read(source, 65536)
            except OSError:
                return
            try:
                os.write(target, packet)
            except OSError:
                # The far device is down: lost, as on a wire.
                continue
