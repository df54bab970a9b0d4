"""What houses say to one another of multi-region keys: claims of three kinds of statements, read strictly.

    replica-peer      who a house is: its region, and the public half of its replica pair
    replica-bundle    a key on its way from the house of its primary to one other: what it is, and versions
    replica-receipt   how far a replica has come

All are signed by the house that says them (`statements`). A reader takes what is exactly of this form; who
signed, whether it is for us and how old it may be is decided by whoever reads.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from strongroomd.domain.algorithms import SPECS, KeySpec, KeyUsage, Scheme
from strongroomd.domain.approvals import MAX_QUORUM
from strongroomd.domain.errors import invalid
from strongroomd.domain.limits import MAX_VERSIONS
from strongroomd.domain.names import account_id
from strongroomd.domain.replication import MULTI_REGION_PREFIX, check_region
from strongroomd.domain.rotations import PERIOD_MAX, RotationType
from strongroomd.domain.statements import Statement

PEER: Final = "replica-peer"
BUNDLE: Final = "replica-bundle"
RECEIPT: Final = "replica-receipt"
LEVEL: Final = "token"
"""Where the material is in clear on its way: nowhere but in the two tokens."""

MAX_AGE_MS: Final = 7 * 24 * 3600 * 1000
"""For so long a bundle may be brought in: what its primary decided is not for ever."""
SKEW_MS: Final = 5 * 60 * 1000
MAX_COPIES: Final = 180_000
"""Bytes of one bundle's versions: with its signature it must fit a request of 256 KiB."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PeerCard:
    """Who a house is."""

    region: str
    replica_key: bytes

    def claims(self) -> dict[str, Any]:
        """Give the claims of the statement."""
        return {"region": self.region, "replica_key": _spell(self.replica_key), "level": LEVEL}


@dataclass(frozen=True, slots=True)
class Shipped:
    """One version on its way; the fields are those of `VersionRecord` and `CopyRecord`."""

    version: int
    created_at: int
    rotation: RotationType
    scheme: Scheme
    length: int
    public_key: bytes
    check_value: bytes
    pair: str
    blob: bytes

    def claims(self) -> dict[str, Any]:
        """Give its part of the bundle's claims."""
        return {
            "version": self.version,
            "created_at": self.created_at,
            "rotation": self.rotation.value,
            "scheme": self.scheme.value,
            "length": self.length,
            "public_key": _spell(self.public_key),
            "check_value": _spell(self.check_value),
            "pair": self.pair,
            "blob": _spell(self.blob),
        }

    @property
    def size(self) -> int:
        """About how many bytes of a bundle it takes."""
        return (len(self.blob) + len(self.public_key)) * 4 // 3 + 400


@dataclass(frozen=True, slots=True)
class Bundle:
    """A key on its way.

    Attributes:
        source: region of the house that says it.
        target: region of the house that it is for.
        primary: region of the house that has the primary from now on.
        term: counts the changes of the primary's house; the higher one holds.
        quorum: what protects the key, as in `KeyRecord`.
        period_days: days between automatic rotations, 0 for none.
        replicas: the other replicas' regions, and the newest version that each acknowledged.
        after: versions up to this one are left out, those behind follow without a gap.
        current_version: the version that encrypts, as far as this bundle goes; later ones wait.
    """

    key_id: str
    account: str
    spec: KeySpec
    usage: KeyUsage
    exportable: bool
    quorum: int
    created_at: int
    source: str
    target: str
    primary: str
    term: int
    period_days: int
    current_version: int
    after: int
    replicas: tuple[tuple[str, int], ...]
    versions: tuple[Shipped, ...]

    @property
    def newest(self) -> int:
        """The last version that it goes to."""
        return self.versions[-1].version if self.versions else self.after

    def claims(self) -> dict[str, Any]:
        """Give the claims of the statement."""
        return {
            "key_id": self.key_id,
            "account": self.account,
            "spec": self.spec.value,
            "usage": self.usage.value,
            "exportable": self.exportable,
            "quorum": self.quorum,
            "created_at": self.created_at,
            "source": self.source,
            "target": self.target,
            "primary": self.primary,
            "term": self.term,
            "period_days": self.period_days,
            "current_version": self.current_version,
            "after": self.after,
            "replicas": dict(self.replicas),
            "versions": [each.claims() for each in self.versions],
            "level": LEVEL,
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far a replica has come.

    Attributes:
        region: of the house that says it.
        newest: all of the primary's versions up to this one are there.
        check_value: that version's: another house, or another state of the primary's, may have made another
            version of this number, and the receipt says nothing of it.
    """

    key_id: str
    account: str
    region: str
    newest: int
    check_value: bytes

    def claims(self) -> dict[str, Any]:
        """Give the claims of the statement."""
        return {
            "key_id": self.key_id,
            "account": self.account,
            "region": self.region,
            "newest": self.newest,
            "check_value": _spell(self.check_value),
        }


# --- reading ---


def read_peer(statement: Statement) -> PeerCard:
    """Read who a house is. Raises INVALID_FIELD (`statement`)."""
    form = _Form(statement, PEER, "statement", {"region", "replica_key", "level"})
    return PeerCard(form.region("region"), form.octets("replica_key"))


def read_receipt(statement: Statement) -> Receipt:
    """Read a receipt. Raises INVALID_FIELD (`receipt`)."""
    form = _Form(statement, RECEIPT, "receipt", {"key_id", "account", "region", "newest", "check_value"})
    return Receipt(
        key_id=form.key_id(),
        account=form.account(),
        region=form.region("region"),
        newest=form.number("newest", 1, MAX_VERSIONS),
        check_value=form.octets("check_value"),
    )


def read_bundle(statement: Statement) -> Bundle:
    """Read a bundle. Raises INVALID_FIELD (`bundle`)."""
    form = _Form(statement, BUNDLE, "bundle", _OF_BUNDLE)
    spec, usage = form.one_of(KeySpec, "spec"), form.one_of(KeyUsage, "usage")
    if usage not in SPECS[spec].usages or form.claims["level"] != LEVEL:
        form.refuse()
    bundle = Bundle(
        key_id=form.key_id(),
        account=form.account(),
        spec=spec,
        usage=usage,
        exportable=form.truth("exportable"),
        quorum=form.number("quorum", 0, MAX_QUORUM),
        created_at=form.number("created_at", 1),
        source=form.region("source"),
        target=form.region("target"),
        primary=form.region("primary"),
        term=form.number("term", 1),
        period_days=form.number("period_days", 0, PERIOD_MAX),
        current_version=form.number("current_version", 1, MAX_VERSIONS),
        after=form.number("after", 0, MAX_VERSIONS),
        replicas=_replicas(form),
        versions=tuple(_version(each, statement) for each in form.items("versions")),
    )
    numbers = [bundle.after, *(each.version for each in bundle.versions)]
    if numbers != sorted(set(numbers)) or bundle.current_version > bundle.newest:
        form.refuse()
    return bundle


_OF_BUNDLE: Final = {
    *("key_id", "account", "spec", "usage", "exportable", "quorum", "created_at", "source", "target"),
    *("primary", "term", "period_days", "current_version", "after", "replicas", "versions", "level"),
}
_OF_VERSION: Final = {
    *("version", "created_at", "rotation", "scheme", "length", "public_key", "check_value", "pair", "blob"),
}


def _version(found: object, statement: Statement) -> Shipped:
    if not isinstance(found, Mapping):
        raise invalid("bundle", "is not of the form of a replica bundle")
    form = _Form(Statement(BUNDLE, statement.house, statement.time, found), BUNDLE, "bundle", _OF_VERSION)
    pair = form.text("pair", 64)
    if len(pair) != 64 or not set(pair) <= set("0123456789abcdef"):
        form.refuse()
    return Shipped(
        version=form.number("version", 1, MAX_VERSIONS),
        created_at=form.number("created_at", 1),
        rotation=form.one_of(RotationType, "rotation"),
        scheme=form.one_of(Scheme, "scheme"),
        length=form.number("length", 0, 1_024),
        public_key=form.octets("public_key"),
        check_value=form.octets("check_value"),
        pair=pair,
        blob=form.octets("blob"),
    )


def _replicas(form: "_Form") -> tuple[tuple[str, int], ...]:
    found = form.claims["replicas"]
    if not isinstance(found, Mapping):
        form.refuse()
    for region, acknowledged in found.items():
        check_region(region, form.field)
        if type(acknowledged) is not int or not 0 <= acknowledged <= MAX_VERSIONS:
            form.refuse()
    return tuple(sorted(found.items()))


class _Form:
    """Claims of one kind, each read as exactly what it must be.

    Args:
        statement: whose claims.
        kind: what the statement must be.
        field: the request field, for errors.
        names: the members, all of them and no others.
    """

    def __init__(self, statement: Statement, kind: str, field: str, names: Iterable[str]) -> None:
        self.claims = statement.claims
        self.field = field
        self._kind = kind
        if statement.kind != kind or self.claims.keys() != set(names):
            self.refuse()

    def refuse(self) -> NoReturn:
        """Refuse the statement."""
        raise invalid(self.field, f"is not of the form of a {self._kind.replace('-', ' ')}")

    def text(self, name: str, most: int = 256) -> str:
        """Read text."""
        value = self.claims[name]
        if not isinstance(value, str) or len(value) > most:
            self.refuse()
        return value

    def number(self, name: str, least: int, most: int = 2**53 - 1) -> int:
        """Read a whole number within bounds."""
        value = self.claims[name]
        if type(value) is not int or not least <= value <= most:
            self.refuse()
        return value

    def truth(self, name: str) -> bool:
        """Read a truth value."""
        value = self.claims[name]
        if not isinstance(value, bool):
            self.refuse()
        return value

    def items(self, name: str) -> list[object]:
        """Read a list."""
        value = self.claims[name]
        if not isinstance(value, list) or len(value) > MAX_VERSIONS:
            self.refuse()
        return value

    def octets(self, name: str) -> bytes:
        """Read bytes in their one base64 spelling."""
        text = self.text(name, MAX_COPIES)
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self.refuse()
        if _spell(value) != text:
            self.refuse()
        return value

    def one_of(self, kind: type[T], name: str) -> T:
        """Read a member of an enum."""
        try:
            return kind(self.text(name))  # type: ignore[call-arg]
        except ValueError:
            self.refuse()

    def region(self, name: str) -> str:
        """Read a region."""
        return check_region(self.text(name), self.field)

    def account(self) -> str:
        """Read the account."""
        return account_id(self.text("account"), self.field)

    def key_id(self) -> str:
        """Read a multi-region key's id."""
        text = self.text("key_id", 36)
        digits = text.removeprefix(MULTI_REGION_PREFIX)
        if text == digits or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
            self.refuse()
        return text


def _spell(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
