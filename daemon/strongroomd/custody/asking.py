"""What the gate knows of a request, for policies whose conditions ask.

Built only where a statement with conditions, or a grant, speaks of caller and action. What a use case knows
besides (`Brought`), it gives with each claim (`bringing`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from strongroomd.custody.catalog import Entry
from strongroomd.custody.clock import Clock
from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.context import Context
from strongroomd.domain.grants import Grant, NewGrant
from strongroomd.domain.policy.circumstances import Call, Circumstances, Target
from strongroomd.domain.policy.request import Request, Resource, Subject, Value
from strongroomd.domain.principals import Caller

_IPV4: Final = re.compile(r"ipv4:([0-9.]+):[0-9]+", re.ASCII)
_IPV6: Final = re.compile(r"ipv6:(?:\[|%5B)([0-9A-Fa-f:.]+)(?:%[^\]]*)?(?:\]|%5D):[0-9]+", re.ASCII)
_ALIAS: Final = re.compile(r"(?:arn:aws:kms:[^:]*:[0-9]*:)?(alias/.*)", re.ASCII | re.DOTALL)


@dataclass(slots=True)
class Brought:
    """What a use case knows of its request.

    Attributes:
        facts: by condition key in lower case (`kms:signingalgorithm`), None for what the request lacks. A key
            that the action has and that is not here refuses every request whose policy asks for it.
        encryption_context: the caller's pairs, for actions that have them.
        request_tags: the tags that the request sets.
        new_grant: what CreateGrant is to make.
        retired: the grant that RetireGrant is to end, if there is one.
    """

    facts: dict[str, Value | None] = field(default_factory=dict)
    encryption_context: Mapping[str, str] | None = None
    request_tags: Mapping[str, str] | None = None
    new_grant: NewGrant | None = None
    retired: Grant | None = None


NOTHING_BROUGHT: Final = Brought()


def pairs(context: Context) -> dict[str, str]:
    """Give a canonical encryption context as policies see it."""
    return {key.decode(): value.decode() for key, value in context}


def make_request(
    clock: Clock, caller: Caller, action: Action, entry: Entry, brought: Brought, named: str
) -> Request:
    """Make the request of one claim of a key.

    Args:
        clock: tells the time.
        caller: who calls.
        action: what the claim is for.
        entry: the key.
        brought: what the use case knows.
        named: the text by which the caller named the key; empty where a ciphertext did.
    """
    context = Circumstances(
        action=action,
        subject=subject_of(caller.name),
        call=call_of(clock, caller),
        target=Target(entry.arn, entry.key, entry.aliases),
        principal_tags=dict(caller.principal.tags),
        brought={"kms:requestalias": alias_in(named), **brought.facts},
        encryption_context=brought.encryption_context,
        request_tags=brought.request_tags,
    )
    resource = Resource(entry.arn, entry.key.account)
    return Request(
        action, context.subject, resource, context, brought.encryption_context or {}, brought.new_grant
    )


def call_of(clock: Clock, caller: Caller) -> Call:
    """Give what policies may ask of the call: when, from where, for whom a trusted service calls."""
    return Call(
        clock.wall_ms() / 1000,
        source_ip(caller.source),
        via_service=caller.behalf.via_service,
        caller_account=caller.behalf.caller_account,
        source_arn=caller.behalf.source_arn,
        source_account=caller.behalf.source_account,
        by_service=caller.principal.trusted,
    )


@lru_cache(maxsize=65_536)
def subject_of(name: str) -> Subject:
    """Make the subject of a caller's name: a principal's ARN, or a role session's."""
    return policy.subject_named(name)


@lru_cache(maxsize=4_096)
def alias_in(named: str) -> str | None:
    """Give the alias by which a key was named, kms:RequestAlias; None where it was named otherwise."""
    match = _ALIAS.fullmatch(named)
    return match[1] if match else None


@lru_cache(maxsize=4_096)
def source_ip(peer: str) -> str:
    """Take the address out of what gRPC calls a peer; empty for a Unix socket."""
    match = _IPV4.fullmatch(peer) or _IPV6.fullmatch(peer)
    return match[1] if match else ""
