"""The drill: keys of every spec saved, everything lost, restored on the token's copy, lost again, recovered elsewhere.

`python -m tests.drill --keys 1000`, by scripts/drill. Each key leaves one proof of what it did before the loss: a
ciphertext, a signature or a MAC, which must open or verify after each restore. Exits with 1 if any does not.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness import running
from tests.houses import House, fresh_token, make_house, told

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage

MESSAGE = b"what was said before the loss"
RESIDENT_HERE = frozenset({KeySpec.ECC_NIST_EDWARDS25519})
"""Specs that SoftHSM cannot wrap: they come back by the token's own copy only."""
Proof = Callable[[Client], bool]


@dataclass(frozen=True)
class Kept:
    """A key, and how it proves that it is the one that it was."""

    key_id: str
    spec: KeySpec
    proof: Proof


def plan(total: int, rsa: int, others: int) -> list[KeySpec]:
    """Say which specs: so many of each RSA spec, so many of each other, and symmetric keys for the rest."""
    wanted: list[KeySpec] = []
    for spec, facts in SPECS.items():
        if spec is not KeySpec.SYMMETRIC_DEFAULT:
            wanted += [spec] * (rsa if facts.family is KeyFamily.RSA else others)
    return wanted + [KeySpec.SYMMETRIC_DEFAULT] * max(0, total - len(wanted))


def keep(client: Client, spec: KeySpec, token: str = "") -> Kept:
    """Make a key, and have it do something that it must be able to undo or repeat."""
    usage = SPECS[spec].usages[0]
    if KeyUsage.SIGN_VERIFY in SPECS[spec].usages:
        usage = KeyUsage.SIGN_VERIFY
    key = client.create_key(spec=spec.value, usage=usage.value, token=token).key_id
    return Kept(key, spec, PROOFS[usage](client, key, spec))


def _sealed(client: Client, key: str, spec: KeySpec) -> Proof:
    sealed = client.encrypt(key, MESSAGE).ciphertext
    return lambda later: later.decrypt(sealed).plaintext == MESSAGE


def _signed(client: Client, key: str, spec: KeySpec) -> Proof:
    """A new signature verifies under the public key of before, and the old one under that of now."""
    algorithm = client.describe_key(key).signing_algorithms[0]
    before = client.sign(key, MESSAGE, algorithm=algorithm).signature
    public = client.get_public_key(key).public_key

    def proof(later: Client) -> bool:
        now = later.sign(key, MESSAGE, algorithm=algorithm).signature
        for signature in (before, now):
            later.verify(key, MESSAGE, signature, algorithm=algorithm)  # raises for one that is not valid
        return later.get_public_key(key).public_key == public

    return proof


def _maced(client: Client, key: str, spec: KeySpec) -> Proof:
    algorithm = client.describe_key(key).mac_algorithms[0]
    mac = client.generate_mac(key, MESSAGE, algorithm=algorithm).mac
    return lambda later: later.generate_mac(key, MESSAGE, algorithm=algorithm).mac == mac


PROOFS: dict[KeyUsage, Callable[[Client, str, KeySpec], Proof]] = {
    KeyUsage.ENCRYPT_DECRYPT: _sealed,
    KeyUsage.SIGN_VERIFY: _signed,
    KeyUsage.GENERATE_VERIFY_MAC: _maced,
}


class Drill:
    """One drill.

    Args:
        folder: empty; everything happens in it.
        say: hears of each stage and how long it took.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self.kept: list[Kept] = []

    def run(self, specs: list[KeySpec]) -> bool:
        """Make keys, save, lose, restore, lose, recover; says whether everything came back as it must."""
        with self._stage("house, its token and a recovery token"):
            house = make_house(self.folder / "house")
        with self._stage(f"{len(specs)} keys, and what each left behind"), running(house.folder) as daemon:
            with daemon.client(timeout=120.0) as client:
                self.kept = [keep(client, spec) for spec in specs]
            made = house.backup()
            daemon.stop()
        self._say(f"set: {sum(path.stat().st_size for path in made.iterdir()) >> 10} KiB")
        safe = shutil.copytree(made, self.folder / made.name)
        shutil.rmtree(house.sets)
        return self._restored(house, safe) and self._recovered(house, safe)

    def _restored(self, house: House, safe: Path) -> bool:
        house.wipe()
        with self._stage("restore on the token's copy"):
            report = told(house.restore(safe))
        resident = [kept for kept in self.kept if kept.spec in RESIDENT_HERE]
        wanted = {"WRAPPED": len(self.kept) - len(resident), "RESIDENT": len(resident)}
        return self._right(report, wanted, []) and self._prove(house, self.kept, [])

    def _recovered(self, house: House, safe: Path) -> bool:
        house.wipe()
        fresh_token(house.folder / "token")
        with self._stage("recovery into a fresh token"):
            report = told(house.recover(safe))
        gone = [kept for kept in self.kept if kept.spec in RESIDENT_HERE]
        back = [kept for kept in self.kept if kept.spec not in RESIDENT_HERE]
        missing = sorted(f"{kept.key_id}/1" for kept in gone)
        return self._right(report, {"WRAPPED": len(back)}, missing) and self._prove(house, back, gone)

    def _right(self, report: dict[str, object], keys: dict[str, int], missing: list[str]) -> bool:
        found = {name: count for name, count in dict(report["keys"]).items() if count}  # type: ignore[call-overload]
        wanted = {name: count for name, count in keys.items() if count}
        right = found == wanted and sorted(report["missing"]) == missing and not report["wrong"]  # type: ignore[call-overload]
        self._say(f"check values right: {json.dumps(found)}; missing, and so reported: {len(missing)}")
        return right and not report["lost"]

    def _prove(self, house: House, back: list[Kept], gone: list[Kept]) -> bool:
        with self._stage("proofs"), running(house.folder) as daemon:
            with daemon.client(timeout=120.0) as client:
                wrong = [kept for kept in back if not kept.proof(client)]
                alive = [kept for kept in gone if not _is_unavailable(client, kept)]
            daemon.stop()
        specs = Counter(kept.spec.value for kept in back)
        self._say(f"{len(back) - len(wrong)} of {len(back)} keys did again what they did, {len(specs)} specs")
        return not wrong and not alive

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._say(f"{time.monotonic() - started:6.1f} s  {name}")


def _is_unavailable(client: Client, kept: Kept) -> bool:
    try:
        kept.proof(client)
    except StrongroomError as error:
        return error.reason == "KEY_UNAVAILABLE"
    return False


def main() -> int:
    """Run the drill in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--rsa", type=int, default=3, help="of each RSA spec")
    parser.add_argument("--others", type=int, default=10, help="of each other spec")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="strongroom-drill-"))
    started = time.monotonic()
    try:
        right = Drill(folder, _say).run(plan(asked.keys, asked.rsa, asked.others))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _say(f"drill {'passed' if right else 'FAILED'} in {time.monotonic() - started:.0f} s")
    return 0 if right else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
