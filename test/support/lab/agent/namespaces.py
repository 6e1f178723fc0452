"""Sockets in other network namespaces: a socket stays in the namespace in which it was made."""

import ctypes
import os

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_own = os.open("/proc/self/ns/net", os.O_RDONLY)
_known: dict[str, int] = {}


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def within(namespace: str, make):
    """What make() gives, called in the named namespace."""
    if namespace not in _known:
        _known[namespace] = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    _enter(_known[namespace])
    try:
        return make()
    finally:
        _enter(_own)


def set_sysctls(namespace: str, values: dict[str, str]) -> None:
    """/proc/sys/net shows the namespace of who looks."""

    def write() -> None:
        for name, value in values.items():
            with open("/proc/sys/" + name.replace(".", "/"), "w", encoding="ascii") as file:
                file.write(value)

    within(namespace, write)
