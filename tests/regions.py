"""Two houses on one machine: two regions, two tokens, two stores, two daemons; and what goes between them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.failpoints import stopping
from tests.harness import ACCOUNT, make_folder, wait_until
from tests.people import Cast, configure, gathered

from strongroom import Client, results
from strongroom.errors import DeadlineExceeded, StrongroomError

HERE, THERE = "local-1", "local-2"
ALIEN = "local-9"
"""A region whose house is a key of the tests' own: a peer that can say whatever it likes, truly signed."""


def in_region(region: str) -> Callable[[str], str]:
    """Edit a configuration so that the daemon is in a region, and knows the people of `people`."""

    def edit(text: str) -> str:
        assert "\nregion" not in text
        return configure(text.replace("[daemon]\n", f'[daemon]\nregion = "{region}"\n', 1))

    return edit


@dataclass
class Houses:
    """Two houses that are registered with each other."""

    here: Cast
    there: Cast

    @property
    def primary(self) -> Client:
        """The administrator's client where primaries are made."""
        return self.here.admin

    @property
    def replica(self) -> Client:
        """The administrator's client in the other house."""
        return self.there.admin

    def key(self, **wanted: Any) -> str:
        """A multi-region primary, here."""
        return self.primary.create_key(multi_region=True, **wanted).key_id

    def replicated(self, **wanted: Any) -> str:
        """A key with a replica that is whole."""
        key = self.key(**wanted)
        self.deliver(self.primary.replicate_key(key, THERE))
        return key

    def deliver(self, bundle: results.ReplicaBundle, **own: Any) -> results.ReplicaImported:
        """Take a bundle there, and the receipt back."""
        done = self.bring(bundle, **own)
        self.primary.acknowledge_replica(done.key.key_id, done.receipt.payload, done.receipt.signature)
        return done

    def bring(self, bundle: results.ReplicaBundle, **own: Any) -> results.ReplicaImported:
        """Take a bundle there."""
        return self.replica.import_replica(bundle.statement.payload, bundle.statement.signature, **own)

    def sync(self, key: str) -> None:
        """Bring the replica up to its primary."""
        self.deliver(self.primary.get_replica_bundle(key, THERE))
        self.bring(self.primary.get_replica_bundle(key, THERE))


def register(at: Cast, statement: results.SignedStatement, statement_key: bytes) -> results.Peer:
    """Register a house at another, with the approvals that it takes."""
    given = (statement.payload, statement.signature, statement_key)
    asked = at.admin.ask_peer(*given, purpose="two regions")
    return at.admin.register_peer(*given, at.agreed(asked))


def make_pair(admin: Client) -> None:
    """Have a house make its replica pair; on a machine that stalls the answer comes too late, the pair comes."""
    with suppress(DeadlineExceeded):
        admin.rotate_house_key("replica")

    def there() -> bool:
        try:
            return bool(admin.get_peer_statement().payload)
        except StrongroomError:
            return False

    wait_until(there, 60)


def statement_key(of: Client) -> bytes:
    """The key that signs a house's statements now."""
    return of.list_statement_keys()[-1].public_key


class Alien:
    """A house that is nothing but a statement key; and whoever forges what another house says."""

    def __init__(self, region: str = ALIEN) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.region = region
        self.house = f"/strongroom/{region}/{ACCOUNT}"
        self.public_key = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def says(self, what: str, claims: dict[str, Any], **envelope: Any) -> results.SignedStatement:
        """State something, truly signed."""
        body = {
            "claims": claims,
            "format": "strongroom.statement.v1",
            "house": self.house,
            "kind": what,
            "time": "2026-01-01T00:00:00.000Z",
        } | envelope
        return self.signed(spelled(body))

    def signed(self, payload: bytes) -> results.SignedStatement:
        """Sign a payload."""
        signature = self.key.sign(payload, ec.ECDSA(hashes.SHA256()))
        return results.SignedStatement(payload, signature, "", "")


def spelled(body: dict[str, Any]) -> bytes:
    """Spell a statement in its one form."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")


@contextmanager
def two_houses(folder: Path) -> Iterator[Houses]:
    """Serve two houses that know each other; their workers can be told where to die."""
    folders = {region: folder / region for region in (HERE, THERE)}
    for region, place in folders.items():
        place.mkdir()
        make_folder(place, workers=1, edit=in_region(region))
    with (
        stopping(folders[HERE]) as one,
        stopping(folders[THERE]) as other,
        gathered(one) as here,
        gathered(other) as there,
    ):
        for cast in (here, there):
            make_pair(cast.admin)
        for at, of in ((here, there), (there, here)):
            register(at, of.admin.get_peer_statement(), statement_key(of.admin))
        yield Houses(here, there)
