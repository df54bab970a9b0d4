"""What must outlive a worker: the ports, the PIN, the accepted configuration, the run folder's lock."""

import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from strongroomd.config import Address

_MAX_PIN: Final = 4_096  # bytes; tokens allow far fewer


class RefusalError(Exception):
    """The daemon cannot start here; the text says why."""


def sealed(name: str, data: bytes | bytearray) -> int:
    """Keep bytes in memory that no longer change and reach no disk but swap (memfd_create(2))."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def seal_pin(descriptor: int, token: str = "") -> int:
    """Read a PIN's descriptor to its end, once, so that every worker can be given the PIN anew.

    Args:
        descriptor: as the configuration names it.
        token: the name of a further token, for errors.
    """
    place = f"[hsm] tokens {token} pin_fd" if token else "[hsm] pin_fd"
    pin = bytearray()
    try:
        while chunk := os.read(descriptor, _MAX_PIN + 1 - len(pin)):
            pin += chunk
        os.close(descriptor)
    except OSError as error:
        raise RefusalError(f"{place}: cannot be read: {error.strerror}") from error
    if not 0 < len(pin) <= _MAX_PIN:
        raise RefusalError(f"{place}: must give 1 to {_MAX_PIN} bytes")
    kept = sealed("strongroom-pin", pin)
    pin[:] = bytes(len(pin))
    return kept


def reopened(descriptor: int) -> int:
    """Open the same memory again: descriptors that are merely inherited would share one read position."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def reserve(address: Address) -> socket.socket:
    """Hold a port by a socket that never listens; workers join it by SO_REUSEPORT.

    The kernel would let a second daemon of the same user join too, so first ask for the port alone.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        if address.port:
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
        holder = socket.socket(family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:
        raise RefusalError(f"{address} cannot be bound: {error.strerror}") from error
    return holder


def only_one(path: Path) -> int:
    """Hold the run folder for this daemon alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise RefusalError("another daemon runs with the same [daemon] run_dir") from error
    return descriptor
