"""People at a daemon with an approver's key each, and a daemon that knows them."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.harness import ACCOUNT, ADMIN, OTHER_ACCOUNT, Daemon, refused, wait_until

from strongroom import Client, results, signing

NAMES = dict.fromkeys(("alice", "bob", "carol", "dave", "ana", "ben"), ACCOUNT) | {"mallory": OTHER_ACCOUNT}
OF_THE_RUNBOOK = ("ana", "ben")  # they are enrolled as it says
MAKERS: dict[str, Callable[[], Any]] = {
    "bob": ed25519.Ed25519PrivateKey.generate,
    "carol": lambda: ec.generate_private_key(ec.SECP256R1()),
}


def arn(name: str) -> str:
    return f"arn:aws:iam::{NAMES[name]}:user/{name}"


def configure(text: str) -> str:
    """Let a daemon know them all, and keys leave at every level."""
    for name in NAMES:
        text += f'\n[[identities]]\narn = "{arn(name)}"\nuri = "spiffe://strongroom.dev/{name}"\n'
    return text + '\n[export]\nleast_level = "host"\n'


def issue(daemon: Daemon) -> None:
    """Give everybody a certificate."""
    assert daemon.authority is not None
    for name in NAMES:
        credential = daemon.authority.client(name, f"spiffe://strongroom.dev/{name}")
        tls = daemon.folder / "tls"
        credential.write(tls / f"{name}.pem", tls / f"{name}.key")


@dataclass
class Person:
    """Somebody with a certificate and an approver's key.

    Attributes:
        private_key: PEM.
    """

    name: str
    client: Client
    private_key: bytes
    public_key: bytes
    approver_id: str = ""

    @property
    def arn(self) -> str:
        return arn(self.name)

    def sign(self, request: results.ApprovalRequest) -> bytes:
        return signing.sign(self.private_key, request.request_file)

    def approve(self, request: results.ApprovalRequest) -> results.ApprovalRequest:
        """Sign and approve, with this person's own first key."""
        signature = self.sign(request)
        return self.client.approve_request(request.approval_id, signature, approver_id=self.approver_id)


def new_key(name: str = "") -> tuple[bytes, bytes]:
    """A private key in PEM and its public half in DER, of the kind that a person prefers."""
    key = MAKERS.get(name, MAKERS["bob"])()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def enrol(admin: Client, person: Person) -> None:
    """Have an administrator enrol a person's key."""
    proof = signing.sign(
        person.private_key, signing.enrolment_file(NAMES[person.name], person.arn, person.public_key)
    )
    person.approver_id = admin.enrol_approver(person.arn, person.public_key, proof).approver_id


@dataclass
class Cast:
    """A daemon, its administrator, and the people."""

    daemon: Daemon
    admin: Client
    people: dict[str, Person]

    def __getattr__(self, name: str) -> Person:
        try:
            return self.people[name]
        except KeyError:
            raise AttributeError(name) from None

    def policy(self, *approvers: str, also: list[dict[str, Any]] | None = None) -> str:
        """Alice and the administrator manage and export; some may approve."""
        managers = [arn("alice"), ADMIN]
        statements = [
            _allow(managers, "kms:*", "strongroom:RequestExport", "strongroom:ExecuteExport"),
            _allow(
                [arn(name) for name in approvers or ("alice", "bob", "carol")], "strongroom:ApproveRequest"
            ),
            *(also or []),
        ]
        return json.dumps({"Version": "2012-10-17", "Statement": statements})

    def key(self, *approvers: str, **wanted: Any) -> str:
        """An exportable key, 2 of whose approvers must approve."""
        usual: dict[str, Any] = {"exportable": True, "quorum": 2, "policy": self.policy(*approvers)}
        return self.admin.create_key(**usual | wanted).key_id

    def asked(self, key: str, recipient: bytes, **wanted: Any) -> results.ApprovalRequest:
        """Alice asks for an export."""
        return self.alice.client.request_export(
            key, public_key=recipient, **{"purpose": "a new house", **wanted}
        )

    def approved(self, key: str, recipient: bytes, **wanted: Any) -> results.ApprovalRequest:
        """Alice asks, Bob and Carol approve."""
        asked = self.asked(key, recipient, **wanted)
        self.bob.approve(asked)
        return self.carol.approve(asked)

    def agreed(self, asked: results.ApprovalRequest) -> str:
        """Bob and Carol approve what somebody asked."""
        self.bob.approve(asked)
        assert self.carol.approve(asked).state == "APPROVED"
        return asked.approval_id

    def edit(self, statement: str, *values: object) -> int:
        """Change the database behind the daemon's back."""
        with behind(self.daemon) as connection:
            return connection.execute(statement, values).rowcount

    def row(self, table: str, record_id: str) -> dict[str, Any]:
        with behind(self.daemon) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute(f"SELECT * FROM {table} WHERE record_id = ?", (record_id,))
            return dict(rows.fetchone())

    def put_back(self, table: str, row: dict[str, Any]) -> None:
        """Put a row back as it was, MAC and all."""
        columns = ", ".join(f'"{name}" = ?' for name in row)
        statement = f"UPDATE {table} SET {columns} WHERE record_id = ?"
        assert self.edit(statement, *row.values(), row["record_id"]) == 1

    @contextmanager
    def refusing(self, action: str, reason: str, field: str | None = None, **facts: str) -> Iterator[None]:
        """Have a block refused, and the refusal written down with these facts."""
        with refused(reason, field):
            yield
        self.audited(action, reason, **facts)

    def audited(self, action: str, outcome: str, **facts: str) -> None:
        """Wait until the audit log says so; it is in the files already, the reader may lag."""

        def there() -> bool:
            found = self.admin.list_audit_records(
                action=action if ":" in action else f"strongroom:{action}", outcome=outcome, page_size=1000
            )
            records = [json.loads(each.canonical_json) for each in found.items]
            return any(all(record.get(k) == v for k, v in facts.items()) for record in records)

        wait_until(there, 5)


def _allow(principals: list[str], *actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": principals}, "Action": list(actions), "Resource": "*"}


_ACCOUNT_REQUESTS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "strongroom:ApproveAccountRequest", "Resource": "*"},
    }
)


@contextmanager
def behind(daemon: Daemon) -> Iterator[sqlite3.Connection]:
    """Open a daemon's database as somebody with root would: no trigger stops them."""
    (path,) = Path(daemon.folder).rglob("strongroom.sqlite")
    connection = sqlite3.connect(path, timeout=10)
    try:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        connection.commit()
    finally:
        connection.close()


@contextmanager
def gathered(daemon: Daemon) -> Iterator[Cast]:
    """Connect everybody, and have their keys enrolled."""
    issue(daemon)
    with daemon.client("admin", timeout=30.0) as admin:
        people = {}
        for name in NAMES:
            people[name] = Person(name, daemon.client(name, timeout=30.0), *new_key(name))
            if name not in OF_THE_RUNBOOK:
                enrol(admin, people[name])
        for name in ("bob", "carol"):
            admin.create_principal(arn(name))
            admin.put_identity_policy(arn(name), "approve", _ACCOUNT_REQUESTS)
        try:
            yield Cast(daemon, admin, people)
        finally:
            for person in people.values():
                person.client.close()
