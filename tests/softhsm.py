"""SoftHSM for tests: tokens in folders of their own, made by the tool or inside this process."""

import ctypes
import os
import secrets
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pkcs11.constants import TokenFlag

from strongroomd.hsm.module import load
from strongroomd.hsm.packing import MAPPER
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.settings import HsmSettings

MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
)
_INIT_TOKEN = 10  # C_InitToken's place in the function list, the version counted as place 0


def module_path() -> Path:
    """The installed SoftHSM; its absence is a failure, not a skip."""
    for path in MODULES:
        if path.exists():
            return path
    raise AssertionError("SoftHSM is not installed: apt-get install softhsm2")


def write_conf(folder: Path) -> Path:
    """Make a token folder and SoftHSM's configuration for it."""
    (folder / "tokens").mkdir(parents=True)
    conf = folder / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    return conf


@dataclass(frozen=True)
class TestToken:
    """A fresh token: no objects, a user PIN that is set."""

    __test__ = False
    settings: HsmSettings
    pin: Pin
    so_pin: Pin
    serial: str


TokenFactory = Callable[[], TestToken]


def make_token_by_tool(folder: Path, label: str = "strongroom") -> TestToken:
    """Make a token with softhsm2-util in a new folder: for tests that run the daemon as a process."""
    conf = write_conf(folder)
    pin, so_pin = secrets.token_hex(8), secrets.token_hex(8)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", so_pin],
        env={**os.environ, "SOFTHSM2_CONF": str(conf)},
        check=True,
        capture_output=True,
    )
    settings = HsmSettings(module_path(), folder / "state", token_label=label, softhsm_conf=conf)
    return TestToken(settings, Pin(pin), Pin(so_pin), "")


def make_token_here(conf: Path, folder: Path) -> TestToken:
    """Make a token inside this process, whose one copy of SoftHSM is bound to `conf`."""
    label, pin, so_pin = f"test-{secrets.token_hex(6)}", secrets.token_hex(8), secrets.token_hex(8)
    settings = HsmSettings(module_path(), folder / label, token_label=label, softhsm_conf=conf)
    module = load(settings)
    slot = next(
        slot
        for slot in module.library.get_slots()
        if not slot.get_token().flags & TokenFlag.TOKEN_INITIALIZED
    )
    init_token = ctypes.CFUNCTYPE(
        ctypes.c_ulong, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p
    )(module.hook.table[_INIT_TOKEN])
    assert init_token(slot.slot_id, so_pin.encode(), len(so_pin), label.ljust(32).encode()) == 0
    token = module.library.get_token(token_label=label)
    session = token.open(rw=True, so_pin=so_pin, attribute_mapper=MAPPER)
    session.init_pin(pin)
    session.close()
    return TestToken(settings, Pin(pin), Pin(so_pin), token.serial.decode())
