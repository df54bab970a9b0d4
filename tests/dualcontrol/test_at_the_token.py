"""Who holds the PIN and goes to the daemon's token directly: what does not leave there does not leave.

Everything happens in a process of its own (`python -m tests.dualcontrol.test_at_the_token FOLDER`), through
PKCS#11 alone, with the blob as the store has it.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import exceptions
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from tests.people import Cast

from strongroomd.config import load as load_config
from strongroomd.hsm import handles
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.module import load
from strongroomd.hsm.packing import MAPPER, Packed, pack
from strongroomd.hsm.privileges import drop_override_capability
from strongroomd.wiring import rooms

A = Attribute
FREE: dict[str, Any] = {
    "TOKEN": False,
    "PRIVATE": True,
    "SENSITIVE": False,
    "EXTRACTABLE": True,
    "WRAP_WITH_TRUSTED": False,
}
STAYING = FREE | {"SENSITIVE": True, "EXTRACTABLE": False}
PRIVATE = {"secret": A.VALUE, "pair": A.PRIVATE_EXPONENT}
"""What a thief wants to read of each kind."""
USES = {"secret": Mechanism.SHA256_HMAC, "pair": Mechanism.SHA256_RSA_PKCS}
LAX: dict[str, Any] = {"MODIFIABLE": True, "COPYABLE": True, "DESTROYABLE": True}


def attempts(session: Any, kek: int, blob: bytes, own: str) -> dict[str, Callable[[], object]]:
    """Every way out of a blob of some kind that a PIN holder could think of, by name."""
    value = PRIVATE[own]

    def unwrapped(kind: str = own, **flags: bool) -> Any:
        return handles.unwrap(session, kek, blob, template(kind, **flags))

    def held(**flags: bool) -> Any:
        """The key as the KEK lets it be unwrapped, with what a thief would want besides."""
        return unwrapped(**{**STAYING, **LAX, **flags})

    def own_wrapping_key() -> int:
        return int(
            session.generate_key(
                KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN,
                template=template("aes", **{**STAYING, **LAX, "WRAP": True, "ENCRYPT": True, "DECRYPT": True}),
            ).handle
        )  # fmt: skip

    def wrap(key: Any, wrapping: int) -> bytes:
        return handles.wrap(session, wrapping, Mechanism.AES_KEY_WRAP_PAD, key.handle)

    return {
        "unwrap it readable": lambda: unwrapped(**FREE),
        "unwrap it extractable": lambda: unwrapped(**{**STAYING, "EXTRACTABLE": True}),
        "unwrap it not sensitive": lambda: unwrapped(**{**STAYING, "SENSITIVE": False}),
        "unwrap it as a token object": lambda: unwrapped(**{**STAYING, "TOKEN": True}),
        "unwrap it public": lambda: unwrapped(**{**STAYING, "PRIVATE": False}),
        "unwrap it without saying": lambda: handles.unwrap(session, kek, blob, template(own)),
        "unwrap it as an AES key": lambda: unwrapped("aes", **FREE),
        "unwrap it as a private key": lambda: unwrapped("pair", **FREE),
        "read its value": lambda: held()[value],
        "make it readable": lambda: held().wrapper.__setitem__(A.SENSITIVE, b"\x00"),
        "make it extractable": lambda: held().wrapper.__setitem__(A.EXTRACTABLE, b"\x01"),
        "copy it extractable": lambda: held().copy(pack({A.EXTRACTABLE: True})),
        "copy it readable": lambda: held().copy(pack({A.SENSITIVE: False}))[value],
        "copy it and read the copy": lambda: held().copy(pack({A.LABEL: "copy"}))[value],
        "copy it and wrap the copy": lambda: wrap(held().copy(pack({A.LABEL: "copy"})), own_wrapping_key()),
        "wrap it under its own KEK": lambda: wrap(held(), kek),
        "wrap it under a key of one's own": lambda: wrap(held(), own_wrapping_key()),
        "wrap it under itself": lambda: wrap(held(WRAP=True), held(WRAP=True).handle),
        "decrypt its blob under the KEK": lambda: handles.decrypt_block(session, kek, blob[:16]),
        "make the KEK decrypt": lambda: setting(session, kek, A.DECRYPT, b"\x01"),
        "read the KEK": lambda: reading(session, kek),
        "take the KEK out": lambda: handles.wrap(
            session, own_wrapping_key(), Mechanism.AES_KEY_WRAP_PAD, kek
        ),
    }


def template(kind: str, **flags: bool) -> Packed:
    """A template of a thief's: what kind of object it shall be, and some flags."""
    object_class, key_type = {
        "secret": (ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET),
        "aes": (ObjectClass.SECRET_KEY, KeyType.AES),
        "pair": (ObjectClass.PRIVATE_KEY, KeyType.RSA),
    }[kind]
    named = {Attribute[name]: value for name, value in flags.items()}
    return pack({A.CLASS: int(object_class), A.KEY_TYPE: int(key_type), **named})


def setting(session: Any, handle: int, attribute: Attribute, value: bytes) -> None:
    (found,) = (each for each in session.get_objects(pack({A.TOKEN: True})) if int(each.handle) == handle)
    found.wrapper[attribute] = value


def reading(session: Any, handle: int) -> bytes:
    (found,) = (each for each in session.get_objects(pack({A.TOKEN: True})) if int(each.handle) == handle)
    return bytes(found[A.VALUE])


def main() -> None:
    """Log in as whoever has the PIN, and try everything."""
    drop_override_capability()
    settings = rooms.hsm_settings(load_config(Path(sys.argv[1]) / "strongroomd.toml"))
    wanted = json.load(sys.stdin)
    with login_lock(settings):
        token = load(settings).library.get_token(token_label=settings.token_label)
        pin = (Path(sys.argv[1]) / "token" / "pin").read_text().strip()
        session = token.open(rw=True, user_pin=pin, attribute_mapper=MAPPER)
    (kek,) = handles.find(session, pack({A.ID: bytes.fromhex(wanted["kek_id"])}))
    said = {}
    kind, blob = wanted.get("kind", "secret"), bytes.fromhex(wanted["blob"])
    for name, attempt in attempts(session, int(kek.handle), blob, kind).items():
        try:
            attempt()
            said[name] = "done"
        except exceptions.PKCS11Error as error:
            said[name] = type(error).__name__
    # The proof that the attempts are made rightly: what may be done with it is done.
    form = template(kind, **{**STAYING, **LAX, "SIGN": True})
    held = handles.unwrap(session, int(kek.handle), blob, form)
    said["use it"] = handles.sign(session, held.handle, USES[kind], None, b"message").hex()
    json.dump(said, sys.stdout)


def mac(house: Cast, key: str) -> bytes:
    return house.admin.generate_mac(key, b"message").mac


def signature(house: Cast, key: str) -> bytes:
    return house.admin.sign(key, b"message", algorithm="RSASSA_PKCS1_V1_5_SHA_256").signature


KEYS: dict[str, tuple[dict[str, Any], Callable[[Cast, str], bytes]]] = {
    "secret": ({"spec": "HMAC_256"}, mac),
    "pair": ({"spec": "RSA_2048", "usage": "SIGN_VERIFY"}, signature),
}


@pytest.mark.daemon
@pytest.mark.softhsm
@pytest.mark.parametrize("kind", list(KEYS))
def test_a_pin_holder_cannot_take_a_non_exportable_key_out_of_its_blob(house: Cast, kind: str) -> None:
    wanted, use = KEYS[kind]
    key = house.admin.create_key(**wanted).key_id
    row = house.row("versions", f"{key}/1")
    done = subprocess.run(
        [sys.executable, "-m", "tests.dualcontrol.test_at_the_token", str(house.daemon.folder)],
        input=json.dumps({"kek_id": row["kek_id"], "blob": row["blob"].hex(), "kind": kind}),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)

    assert said.pop("use it") == use(house, key).hex()
    assert {name: answer for name, answer in said.items() if answer == "done"} == {}
    assert len(said) == 22
    assert said["read its value"] == "AttributeSensitive"
    assert said["wrap it under a key of one's own"] == "KeyUnextractable"
    assert {answer for name, answer in said.items() if name.startswith("unwrap it")} == {
        "TemplateInconsistent"
    }


if __name__ == "__main__":
    main()
