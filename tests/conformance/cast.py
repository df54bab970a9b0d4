"""Brings the kinds of callers to life at a daemon: principals, roles, policies, grants, and how they end."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message
from tests.conformance.approving import make_second, with_approvals
from tests.conformance.certificates import Forge, Recipe
from tests.conformance.kinds import (
    ABROAD,
    ADMITTED,
    CONTEXT,
    EVERYTHING,
    FENCED,
    HOME,
    KINDS,
    NOTHING,
    SILENT,
    VIA,
    Kind,
    Statement,
    allow,
)
from tests.conformance.kit import Callers, Kit, fresh_account, make_kit, valid, with_import, with_requests
from tests.conformance.wire import PATIENCE, Outcome, Wire, repeated, request
from tests.harness import ADMIN, NEIGHBOUR, OTHER, Daemon
from tests.theirs import plant_in

from strongroom import Client
from strongroom.errors import Conflict
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.grants import WITH_CONTEXT, grantable

IN_FORCE = 1.0  # seconds until every worker knows of a change
URI = "spiffe://strongroom.dev/matrix/"


@dataclass
class Member:
    """One caller of a kind."""

    kind: Kind
    arn: str
    uri: str
    holder: Wire
    role: str = ""
    wire: Wire = field(init=False)
    session: str = ""
    lent: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wire = self.holder

    @property
    def account(self) -> str:
        """12 digits."""
        return self.arn.split(":")[4]

    def assume(self) -> None:
        """Begin a session of the role."""
        fields = {"role": self.role, "session_name": "matrix"}
        begun: Any = self.holder.call("AssumeRole", request("AssumeRole", **fields))
        assert begun.ok, begun
        self.session = begun.reply.session_token


def document(statements: Iterable[Statement]) -> str:
    """Write a policy."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, separators=(",", ":"))


def of(arn: str, statements: Iterable[Statement]) -> list[Statement]:
    """Let statements of a key's policy speak of one principal."""
    return [{**statement, "Principal": {"AWS": arn}} for statement in statements]


class Cast:
    """All members, and the keys that they are refused.

    Args:
        daemon: where they call.
        admin: makes them.
    """

    def __init__(self, daemon: Daemon, admin: Client) -> None:
        self._forge = Forge(daemon)
        self._admin = admin
        self._accounts = self._make_accounts()
        self.members = {name: self._hire(kind) for name, kind in KINDS.items()}
        self.references = {account: self._hire(Kind(account=account)) for account in (HOME, ABROAD)}
        self.entitled = self._hire(Kind(role=(allow("kms:*", "strongroom:*"),), in_session=True))
        self.entitled_abroad = self._hire(
            Kind(account=ABROAD, key=(allow("kms:*"),), identity=(allow("kms:*"),))
        )
        self.policy = self._key_policy()
        self._second = make_second(daemon, admin)
        self.kit = self._make_kit()
        self.ghost = _ghost(self.kit)
        time.sleep(IN_FORCE)
        for member in self._everybody():
            if member.role:
                member.assume()
            if member.kind.in_session:
                member.wire = member.holder.saying(session=member.session)
            elif member.kind.says:
                member.wire = member.holder.saying(**member.kind.says)
        self.kit = with_requests(self.kit, admin, self.entitled.wire)
        self.kit = replace(self.kit, theirs=plant_in(daemon.folder))

    def ask(self, name: str, kit: Kit, under: Mapping[str, str] | None = None) -> Message:
        """Make the request of an RPC that whoever has the right succeeds with, but for the context."""
        made: Any = valid(name, kit)
        if name == "PutKeyPolicy":
            made.policy = self.policy
        if under:
            _put_under(made, under)
        return made

    def _everybody(self) -> list[Member]:
        return [*self.members.values(), *self.references.values(), self.entitled, self.entitled_abroad]

    # --- making

    def _make_accounts(self) -> dict[str, str]:
        made = {HOME: HOME} | {name: fresh_account() for name in (ABROAD, ADMITTED, FENCED, SILENT)}
        for name in (ABROAD, ADMITTED, FENCED, SILENT):
            self._admin.create_account(made[name])
        with suppress(Conflict):
            self._admin.create_account(NEIGHBOUR.split(":")[4])
        self._admin.put_guard_rail(made[FENCED], "matrix", document([EVERYTHING, NOTHING]))
        self._admin.put_guard_rail(made[SILENT], "matrix", document([allow("strongroom:GetCallerIdentity")]))
        return made

    def _hire(self, kind: Kind) -> Member:
        name = uuid.uuid4().hex
        if kind.arn:
            uri = "spiffe://strongroom.dev/neighbour"
            return Member(kind, kind.arn, uri, self._connect(uri))
        account, uri = self._accounts[kind.account], URI + name
        member = Member(kind, f"arn:aws:iam::{account}:{kind.noun}/{name}", uri, self._connect(uri))
        self._admin.create_principal(member.arn, trusted=kind.trusted, tags={"team": "blue"})
        self._admin.add_identity(member.arn, uri=uri)
        if kind.identity:
            self._admin.put_identity_policy(member.arn, "matrix", document(kind.identity))
        if kind.role is not None:
            member.role = f"arn:aws:iam::{account}:role/{name}"
            trust = {"Effect": "Allow", "Principal": {"AWS": member.arn}, "Action": "sts:AssumeRole"}
            self._admin.create_principal(member.role, trust_policy=document([trust]))
        return member

    def _connect(self, uri: str) -> Wire:
        wire = self._forge.connect(Recipe(uris=(uri,)))
        wire.patience = PATIENCE
        return wire

    def _key_policy(self) -> str:
        statements = of(ADMIN, [allow("kms:*")])
        statements += of(f"arn:aws:iam::{self._accounts[ADMITTED]}:root", [allow("kms:*")])
        for member in self._everybody():
            statements += of(member.arn, member.kind.key)
            statements += of(member.role, member.kind.role or ())
        return document(statements)

    def _make_kit(self) -> Kit:
        kit = with_import(make_kit(self._admin), self._admin)
        statements = json.loads(self.policy)["Statement"]
        kit = with_approvals(kit, self._admin, self._second, lambda: statements)
        for name in (*kit.key_ids(), kit.external):
            self._admin.put_key_policy(name, self.policy)
        seal, sign, mac, agree = (self._admin.describe_key(key) for key in kit.key_ids())
        for member in self._everybody():
            for key in (seal, sign, mac, agree):
                self._lend(member, key)
        mine = self._admin.create_grant(kit.seal, OTHER, ["Decrypt"], retiring_principal=self.entitled.role)
        return replace(
            kit,
            seal=seal.arn,
            sign=sign.arn,
            mac=mac.arn,
            agree=agree.arn,
            grant=mine.grant.grant_id,
        )

    def _lend(self, member: Member, key: Any) -> None:
        grants = member.kind.grants
        if grants is None:
            return
        fitting = grantable(KeySpec(key.spec), KeyUsage(key.usage))
        constraint: dict[str, Any] = {}
        if grants.constrained and key.spec == "SYMMETRIC_DEFAULT":
            fitting, constraint = fitting & WITH_CONTEXT, {grants.constrained: CONTEXT}
        elif grants.constrained:
            constraint = {"source_account": HOME}
        operations = sorted(action.removeprefix("kms:") for action in fitting)
        named = [each for each in operations if not grants.named or each in grants.named]
        grantee = f"arn:aws:iam::{member.account}:root" if grants.to_root else member.arn
        made = self._admin.create_grant(key.key_id, grantee, named, **constraint)
        member.lent.append((key.key_id, made.grant.grant_id))

    # --- proving, and ending

    def cure(self, member: Member) -> Outcome:
        """Have a member encrypt as it may."""
        return CURES[member.kind.cure](member, request("Encrypt", key=self.kit.seal, plaintext=b"x"))

    def end(self, member: Member) -> None:
        """Take from a member what it has."""
        if member.kind.ends == "steal":
            thief = self._connect(member.uri)
            member.wire = thief.saying(session=member.session)
        elif member.kind.ends:
            ENDS[member.kind.ends](self._admin, member)


def _ghost(kit: Kit) -> Kit:
    """Name nothing that there is, neither keys nor callers."""
    unknown = kit.unknown()
    name, home = uuid.uuid4().hex, f"arn:aws:iam::{HOME}:"
    callers = Callers(
        fresh_account(), f"{home}user/{name}", f"{home}role/{name}", URI + name, "AKIA" + "A" * 16
    )
    arn = f"{kit.seal.rpartition('/')[0]}/{unknown.seal}"
    return replace(
        unknown, seal=arn, sign=arn, mac=arn, agree=arn, external=arn, leaving=arn, callers=callers
    )


def _put_under(message: Any, context: Mapping[str, str]) -> None:
    """Give a request an encryption context, wherever it and its parts have one."""
    for name, described in message.DESCRIPTOR.fields_by_name.items():
        if name.endswith("encryption_context"):
            getattr(message, name).update(context)
        elif described.message_type is not None and not name.endswith("constraints"):
            held = getattr(message, name)
            for part in held if repeated(described) else [held] if message.HasField(name) else []:
                _put_under(part, context)


def _under_the_context(member: Member, asked: Any) -> Outcome:
    asked.encryption_context.update(CONTEXT)
    return member.wire.call("Encrypt", asked)


CURES: dict[str, Callable[[Member, Message], Outcome]] = {
    "as it is": lambda member, asked: member.wire.call("Encrypt", asked),
    "under the context": _under_the_context,
    "via the service": lambda member, asked: member.holder.saying(via_service=VIA).call("Encrypt", asked),
    "in the session": lambda member, asked: member.holder.saying(session=member.session).call(
        "Encrypt", asked
    ),
    "saying nothing": lambda member, asked: member.holder.call("Encrypt", asked),
}


def _revoke_grants(admin: Client, member: Member) -> None:
    for key, grant in member.lent:
        admin.revoke_grant(key, grant)


def _retire_grants(admin: Client, member: Member) -> None:
    for key, grant in member.lent:
        admin.retire_grant(key=key, grant_id=grant)


ENDS: dict[str, Callable[[Client, Member], object]] = {
    "revoke_role_sessions": lambda admin, member: admin.revoke_role_sessions(member.role),
    "disable_role": lambda admin, member: admin.disable_principal(member.role),
    "revoke_grants": _revoke_grants,
    "retire_grants": _retire_grants,
    "tag_otherwise": lambda admin, member: admin.tag_principal(member.arn, {"team": "red"}),
    "disable_principal": lambda admin, member: admin.disable_principal(member.arn),
    "delete_principal": lambda admin, member: admin.delete_principal(member.arn),
}
