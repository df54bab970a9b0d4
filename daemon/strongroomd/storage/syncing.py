"""Making a file durable without blocking the loop, and without a thread where the kernel offers it.

A thread that has waited for the disk must win the GIL back from a busy loop before it can say so: beside a
loop that was kept busy on purpose that took up to 170 ms, and every turn of it cost processor time. Linux
can sync a file by itself and ring an eventfd when it is done (io_submit with IOCB_CMD_FDSYNC, since 4.18),
which the loop hears like any socket. Where that is not to be had (an older kernel, a file system without it,
a sandbox that forbids any of the calls), a thread does it; syncing the very file once tells.
"""

import asyncio
import ctypes
import os
import platform
import select
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Protocol

Done = Callable[[int], None]
"""Called on the loop when a sync ended, with 0 or the error number."""

_SYSCALLS: Final = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
_FDSYNC: Final = 3  # IOCB_CMD_FDSYNC: the data, and what is needed to read it back
_RESFD: Final = 1  # IOCB_FLAG_RESFD: ring the eventfd
_PROOF_SECONDS: Final = 5.0


class Syncer(Protocol):
    """Syncs one file at a time."""

    def start(self, descriptor: int) -> None:
        """Begin to sync; the next may begin when this one is done. Raises OSError if it cannot begin."""
        ...

    def close(self) -> None:
        """Let go, when nothing is on its way."""
        ...


class _Iocb(ctypes.Structure):
    """The kernel's `struct iocb` (linux/aio_abi.h), little endian."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("opcode", ctypes.c_uint16),
        ("reqprio", ctypes.c_int16),
        ("fildes", ctypes.c_uint32),
        ("buf", ctypes.c_uint64),
        ("nbytes", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("resfd", ctypes.c_uint32),
    )


class KernelSyncer:
    """Lets the kernel sync (Linux AIO).

    Args:
        loop: hears the eventfd.
        done: called for each sync.

    Raises:
        OSError: this kernel or sandbox does not offer it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        numbers = _SYSCALLS.get(platform.machine())
        if numbers is None:
            raise OSError("no system call numbers for this machine")
        self._setup, self._destroy, self._events, self._submit = numbers
        # PyDLL keeps the GIL: these calls do not wait, and taking the GIL back might.
        self._libc = ctypes.PyDLL(None, use_errno=True)
        self._context = ctypes.c_ulong(0)
        self._call(self._setup, 1, ctypes.byref(self._context))
        try:
            self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._call(self._destroy, self._context)
            raise
        self._request = _Iocb(opcode=_FDSYNC, flags=_RESFD, resfd=self._bell)
        self._requests = (ctypes.POINTER(_Iocb) * 1)(ctypes.pointer(self._request))
        self._event = (ctypes.c_int64 * 4)()
        self._loop = loop
        self._done = done
        loop.add_reader(self._bell, self._rung)

    def start(self, descriptor: int) -> None:
        """Hand the file to the kernel."""
        self._request.fildes = descriptor
        self._call(self._submit, self._context, ctypes.c_long(1), self._requests)

    def prove(self, descriptor: int) -> None:
        """Sync a file and wait for it, before the loop listens: io_setup alone promises nothing.

        Raises:
            OSError: the kernel cannot sync this file, or says so too late.
        """
        self._loop.remove_reader(self._bell)
        self.start(descriptor)
        bell = select.poll()
        bell.register(self._bell, select.POLLIN)
        if not bell.poll(_PROOF_SECONDS * 1_000):
            raise TimeoutError("the kernel did not finish a sync")
        if code := self._finished():
            raise OSError(code, os.strerror(code))
        self._loop.add_reader(self._bell, self._rung)

    def _rung(self) -> None:
        self._done(self._finished())

    def _finished(self) -> int:
        """Take the event of the sync that ended: 0 or its error number."""
        os.eventfd_read(self._bell)
        one = ctypes.c_long(1)
        self._call(self._events, self._context, one, one, self._event, None)
        return -self._event[2]

    def close(self) -> None:
        """Give context and eventfd back."""
        self._loop.remove_reader(self._bell)
        os.close(self._bell)
        self._call(self._destroy, self._context)

    def _call(self, number: int, *arguments: object) -> None:
        if self._libc.syscall(number, *arguments) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


class ThreadSyncer:
    """Syncs on a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        self._loop = loop
        self._done = done
        self._jobs: SimpleQueue[int | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="audit-sync", daemon=True)
        self._thread.start()

    def start(self, descriptor: int) -> None:
        """Hand the file to the thread."""
        self._jobs.put(descriptor)

    def _run(self) -> None:
        while (descriptor := self._jobs.get()) is not None:
            code = 0
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                code = error.errno or -1
            self._loop.call_soon_threadsafe(self._done, code)

    def close(self) -> None:
        """End the thread."""
        self._jobs.put(None)
        self._thread.join(1.0)


def open_syncer(loop: asyncio.AbstractEventLoop, done: Done, descriptor: int) -> Syncer:
    """Take the kernel's way if it works for this file, else a thread.

    Args:
        loop: what `done` is called on.
        done: called for each sync.
        descriptor: a file of the folder to be synced later; it is synced once here, which blocks for as long.
    """
    try:
        syncer = KernelSyncer(loop, done)
    except OSError:
        return ThreadSyncer(loop, done)
    try:
        syncer.prove(descriptor)
    except OSError:
        syncer.close()
        return ThreadSyncer(loop, done)
    return syncer
