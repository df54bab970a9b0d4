"""Somebody else at a daemon's token: puts objects there, looks at them, takes them away, in a process of its own.

`python -m tests.theirs FOLDER` reads a list of steps as JSON from standard input and prints their answers:
["plant", {"label": ..., "value": hex, ...}], ["destroy", label], ["look", label].
"""

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from pkcs11.constants import Attribute
from tests.hsmkeys import plant_through

from strongroomd.config import load as load_config
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.module import load
from strongroomd.hsm.packing import MAPPER, pack
from strongroomd.hsm.privileges import drop_override_capability
from strongroomd.wiring import rooms

_ROOT = Path(__file__).parent.parent
_SHOWN = [
    each for each in Attribute
    if each.name in {
        "ID", "LABEL", "KEY_TYPE", "ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE", "SENSITIVE",
        "EXTRACTABLE", "PRIVATE", "LOCAL", "MODIFIABLE", "VALUE_LEN",
    }
]  # fmt: skip


def at_token(folder: Path, *steps: tuple[str, Any], seconds: float = 60) -> list[Any]:
    """Do some steps at the token of a daemon's folder, whether or not the daemon serves."""
    command = [sys.executable, "-m", "tests.theirs", str(folder)]
    done = subprocess.run(
        command,
        input=json.dumps(steps),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def plant_in(folder: Path, label: str = "", **wanted: Any) -> str:
    """Put an AES-256 key into the token of a daemon's folder; gives its label, a fresh one if none is given."""
    label = label or f"theirs-{uuid.uuid4().hex}"
    at_token(folder, ("plant", {"label": label, **wanted}))
    return label


def _do(session: Any, step: str, wanted: Any) -> object:
    if step == "plant":
        for field in ("value", "cka_id"):
            wanted[field] = bytes.fromhex(wanted.get(field, ""))
        return int(plant_through(session, **wanted).handle)
    found = list(session.get_objects(pack({Attribute.LABEL: wanted, Attribute.TOKEN: True})))
    if step == "destroy":
        for each in found:
            each.destroy()
        return len(found)
    return [_shown(each) for each in found]


def _shown(held: Any) -> dict[str, str]:
    values = {each.name: held.get_attributes([each]).get(each) for each in _SHOWN}
    return {name: value.hex() if isinstance(value, bytes) else str(value) for name, value in values.items()}


def main() -> None:
    """Log in once, as careful programs do, and do what was asked."""
    drop_override_capability()  # a root that could write the token's own file could damage it when killed
    configured = load_config(Path(sys.argv[1]) / "strongroomd.toml")
    settings = rooms.hsm_settings(configured)
    with login_lock(settings):
        token = load(settings).library.get_token(token_label=settings.token_label)
        pin = (Path(sys.argv[1]) / "token" / "pin").read_text().strip()
        session = token.open(rw=True, user_pin=pin, attribute_mapper=MAPPER)
    json.dump([_do(session, step, wanted) for step, wanted in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
