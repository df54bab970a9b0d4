"""The context of a request about a key, worked out only where a policy asks for it.

A condition on what is not there may hold (StringNotEquals), so a gap must never look like an absence: a key
that the action has, and that nobody brought, is a refusal of the whole request. Whoever brings facts brings
all that the action has, with None for what this request lacks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from strongroomd.domain.actions import Action
from strongroomd.domain.errors import denied
from strongroomd.domain.policy import keys
from strongroomd.domain.policy.request import Subject, Value
from strongroomd.domain.records import KeyRecord, Origin

Facts = Mapping[str, Value | None]

ORIGINS: Final[dict[Origin, str]] = {
    Origin.HSM: "AWS_KMS",
    Origin.EXTERNAL: "EXTERNAL",
    Origin.EXTERNAL_KEY_STORE: "EXTERNAL_KEY_STORE",
}
"""kms:KeyOrigin by where the material came from; a key made in the HSM is what AWS_KMS means elsewhere."""


@dataclass(frozen=True, slots=True)
class Call:
    """The call that a request came in by.

    Attributes:
        now: seconds since the epoch.
        source_ip: the peer's address; empty for a peer without one.
        secure: whether the door uses TLS.
        via_service: the service that a trusted caller calls for, or empty.
        caller_account: whose account that service calls for; the caller's own if empty.
        source_arn: the resource that the service calls for, or empty; source_account likewise.
        by_service: whether the caller itself is a trusted service.
    """

    now: float
    source_ip: str = ""
    secure: bool = True
    via_service: str = ""
    caller_account: str = ""
    source_arn: str = ""
    source_account: str = ""
    by_service: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The key that a request is about.

    Attributes:
        aliases: names of its aliases; None if nobody looked.
    """

    arn: str
    key: KeyRecord
    aliases: tuple[str, ...] | None = None


@dataclass(slots=True)
class Circumstances:
    """One request's context.

    Attributes:
        principal_tags: tags of the principal and its session.
        target: None for actions without a key.
        brought: what the use case knows, by condition key in lower case.
        encryption_context: the caller's pairs; None if nobody brought them.
        request_tags: tags that the request sets; None likewise.
    """

    action: Action
    subject: Subject
    call: Call
    target: Target | None = None
    principal_tags: Mapping[str, str] = field(default_factory=dict)
    brought: Facts = field(default_factory=dict)
    encryption_context: Mapping[str, str] | None = None
    request_tags: Mapping[str, str] | None = None

    def get(self, name: str, /) -> Value | None:
        """Give a condition key's value, None if the request has none.

        Raises:
            StrongroomError: ACCESS_DENIED for a key that the action has but nobody brought, or that two
                names of the request spell alike.
        """
        if name in self.brought:
            return self.brought[name]
        if name in _OF_CALL:
            return _OF_CALL[name](self)
        if name in _OF_KEY:
            return self._of_key(name)
        for prefix, family in _FAMILIES.items():
            if name.startswith(prefix):
                return self._of_family(family(self), name, prefix)
        return self.missing(name)

    def _of_key(self, name: str) -> Value | None:
        if self.target is None or (name == _ALIASES and self.target.aliases is None):
            return self.missing(name)
        return _OF_KEY[name](self.target)

    def _of_family(self, pairs: Mapping[str, str] | None, name: str, prefix: str) -> Value | None:
        if pairs is None:
            return self.missing(name)
        wanted = name.removeprefix(prefix)
        found = [value for key, value in pairs.items() if key.lower() == wanted]
        if len(found) > 1:
            raise denied("two names in the request differ only in case, and the policy asks for one")
        return found[0] if found else None

    def missing(self, name: str) -> Value | None:
        """Give nothing for a key that the action does not have, and refuse where it should have it."""
        _, row = keys.find(name)
        if not row.exists_for(self.action):
            return None
        raise denied(f"the policy asks for {row.name}, which this request does not bring")


def to_bring(action: Action) -> frozenset[str]:
    """List the condition keys, in lower case, that the use case of an action must bring in `brought`."""
    known = _OF_CALL.keys() | _OF_KEY.keys()
    return frozenset(
        name
        for name, row in keys.CONDITION_KEYS.items()
        if name not in known and row.exists_for(action.value)
    )


def _principal_type(here: Circumstances) -> str:
    return _TYPES[here.subject.arn.split(":")[5].partition("/")[0]]


_TYPES: Final = {"root": "Account", "user": "User", "role": "AssumedRole", "service": "Service"}
"""aws:PrincipalType by the kind of ARN; a service with an identity of its own is known only here."""


def _username(here: Circumstances) -> str | None:
    kind, _, name = here.subject.arn.split(":")[5].partition("/")
    return name.rpartition("/")[2] if kind == "user" else None


def _context_keys(here: Circumstances) -> Value | None:
    pairs = here.encryption_context
    return here.missing("kms:encryptioncontextkeys") if pairs is None else tuple(pairs)


def _tag_keys(here: Circumstances) -> Value | None:
    tags = here.request_tags
    return here.missing("aws:tagkeys") if tags is None else tuple(tags)


_ALIASES: Final = "kms:resourcealiases"

_OF_CALL: Final[dict[str, Callable[[Circumstances], Value | None]]] = {
    "aws:principalarn": lambda here: here.subject.arn,
    "aws:principalaccount": lambda here: here.subject.account,
    "aws:principaltype": _principal_type,
    "aws:principalisawsservice": lambda here: here.call.by_service,
    "aws:username": _username,
    "kms:calleraccount": lambda here: here.call.caller_account or here.subject.account,
    "kms:viaservice": lambda here: here.call.via_service or None,
    "aws:viaawsservice": lambda here: bool(here.call.via_service),
    "aws:sourcearn": lambda here: here.call.source_arn or None,
    "aws:sourceaccount": lambda here: here.call.source_account or None,
    "aws:sourceip": lambda here: here.call.source_ip or None,
    "aws:securetransport": lambda here: here.call.secure,
    "aws:currenttime": lambda here: here.call.now,
    "aws:epochtime": lambda here: here.call.now,
    "kms:encryptioncontextkeys": _context_keys,
    "aws:tagkeys": _tag_keys,
}

_OF_KEY: Final[dict[str, Callable[[Target], Value | None]]] = {
    "aws:resourceaccount": lambda target: target.key.account,
    "aws:requestedregion": lambda target: target.arn.split(":")[3],
    "kms:keyspec": lambda target: target.key.spec.value,
    "kms:keyusage": lambda target: target.key.usage.value,
    "kms:keyorigin": lambda target: ORIGINS[target.key.origin],
    "kms:multiregion": lambda target: target.key.key_id.startswith("mrk-"),
    "kms:multiregionkeytype": lambda target: target.key.multi_region.value or None,
    _ALIASES: lambda target: target.aliases,
}

_FAMILIES: Final[dict[str, Callable[[Circumstances], Mapping[str, str] | None]]] = {
    "kms:encryptioncontext:": lambda here: (
        here.encryption_context if keys.PREFIXES["kms:encryptioncontext:"].exists_for(here.action) else {}
    ),
    "aws:principaltag/": lambda here: here.principal_tags,
    "aws:resourcetag/": lambda here: dict(here.target.key.tags) if here.target else {},
    "aws:requesttag/": lambda here: (
        here.request_tags if keys.PREFIXES["aws:requesttag/"].exists_for(here.action) else {}
    ),
}
