"""The Principal and NotPrincipal of a statement: whom it speaks of, and with what force.

A policy names an account by its 12 digits or its root's ARN. In an Allow that delegates: the account's own
identity policies decide. In a Deny it means everybody in the account. A session of a role is named by its own
ARN or by its role's. NotPrincipal reads in each case the way that lets fewer through: beside Allow, whoever
is named in any of these ways is left out; beside Deny, an account excepts its root alone, not its users.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from strongroomd.domain.policy.document import malformed, only, texts
from strongroomd.domain.policy.request import Subject

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_NAME: Final = r"[A-Za-z0-9+=,.@_/-]{1,128}"
_IAM: Final = re.compile(rf"arn:aws:iam::[0-9]{{12}}:(?:root|(?:user|role|service)/{_NAME})", re.ASCII)
_SESSION: Final = re.compile(
    rf"arn:aws:sts::[0-9]{{12}}:assumed-role/{_NAME}/[A-Za-z0-9+=,.@_-]{{2,64}}", re.ASCII
)
_SERVICE: Final = re.compile(rf"arn:aws:iam::[0-9]{{12}}:service/{_NAME}", re.ASCII)
_EVERYONE: Final = "*"


class Reach(IntEnum):
    """How far a statement reaches a caller."""

    NONE = 0
    DELEGATED = 1
    DIRECT = 2


@dataclass(frozen=True, slots=True)
class Who:
    """Whom a statement names; `*` stands among the names."""

    names: frozenset[str]
    inverted: bool

    def allows(self, subject: Subject) -> Reach:
        """Say how far an Allow reaches a caller."""
        if self.inverted:
            return Reach.NONE if self._touches(subject) else Reach.DIRECT
        if self._names(subject):
            return Reach.DIRECT
        return Reach.DELEGATED if subject.root in self.names else Reach.NONE

    def denies(self, subject: Subject) -> bool:
        """Say whether a Deny reaches a caller."""
        return not self._names(subject) if self.inverted else self._touches(subject)

    def _names(self, subject: Subject) -> bool:
        return _EVERYONE in self.names or not subject.names.isdisjoint(self.names)

    def _touches(self, subject: Subject) -> bool:
        return self._names(subject) or subject.root in self.names


def parse(value: object, place: str, *, inverted: bool) -> Who:
    """Read a Principal or NotPrincipal.

    Raises:
        StrongroomError: MALFORMED_POLICY.
    """
    if value == _EVERYONE:
        return Who(frozenset(_EVERYONE), inverted)
    if not isinstance(value, dict) or not value:
        raise malformed(place, 'must be "*" or an object with AWS or Service')
    only(value, {"AWS", "Service"}, place)
    names: set[str] = set()
    if "AWS" in value:
        names |= {_principal(name, f"{place}.AWS") for name in texts(value["AWS"], f"{place}.AWS")}
    if "Service" in value:
        names |= {_service(name, f"{place}.Service") for name in texts(value["Service"], f"{place}.Service")}
    return Who(frozenset(names), inverted)


def _principal(name: str, place: str) -> str:
    if _ACCOUNT.fullmatch(name):
        return f"arn:aws:iam::{name}:root"
    if name == _EVERYONE or _IAM.fullmatch(name) or _SESSION.fullmatch(name):
        return name
    raise malformed(place, 'must name "*", a 12-digit account or principal ARNs')


def _service(name: str, place: str) -> str:
    """Take a service of ours. AWS's names, such as s3.amazonaws.com, belong to nobody who calls here."""
    if not _SERVICE.fullmatch(name):
        raise malformed(
            place, "must name services as arn:aws:iam::<account>:service/NAME; AWS's are not here"
        )
    return name
