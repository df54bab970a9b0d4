"""Where others find the public halves of the keys that sign: files in the state directory.

`init` leaves the first ones. When the statement key is replaced its file gets the new one's, and the old
one's goes beside it, marked as retired: what it signed is verified for as long as the house stands.
"""

from collections.abc import Iterable
from pathlib import Path

from strongroomd.config import Settings
from strongroomd.domain.housekeys import House, active
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.frontends.ops.signatures import public_key_pem
from strongroomd.hsm.statements import key_id
from strongroomd.storage import durable
from strongroomd.wiring.tokens import records_in

_READABLE = 0o644


def public_keys(settings: Settings, house: Iterable[HouseRecord]) -> dict[Path, bytes]:
    """Spell the public halves of the keys that sign, by their files.

    Of the checkpoint keys the first, from which checkpoints lead to its successors; of the statement keys the
    one in use, and those before it.
    """
    texts: dict[Path, bytes] = {}
    statement: list[bytes] = []
    for record in active(records_in(MAIN, list(house))):
        if record.role == House.CHECKPOINT.value:
            texts.setdefault(settings.checkpoint_public_key, public_key_pem(record.public_key))
        elif record.role == House.STATEMENT.value:
            statement.append(record.public_key)
    for retired in statement[:-1]:
        texts[settings.retired_statement_key(key_id(retired))] = public_key_pem(retired)
    if statement:
        texts[settings.statement_public_key] = public_key_pem(statement[-1])
    return texts


def publish(settings: Settings, house: Iterable[HouseRecord]) -> None:
    """Bring the files up to date, retired keys first. Blocks for the disk where anything changed.

    Raises:
        OSError: a file cannot be written.
    """
    for path, text in public_keys(settings, house).items():
        if not path.exists() or path.read_bytes() != text:
            durable.replace(path, text, _READABLE)
