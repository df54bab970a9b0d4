"""GrantService: what keys lend."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key lends to one principal; of the two context constraints at most one has pairs."""

    grant_id: str
    key_arn: str
    grantee_principal: str
    operations: tuple[str, ...]
    retiring_principal: str
    context_equals: Mapping[str, str]
    context_subset: Mapping[str, str]
    source_arn: str
    source_account: str
    name: str
    issuing_principal: str
    parent_grant_id: str
    created_time: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedGrant:
    """A new grant, and a token, no secret, with which it counts at once on every worker."""

    grant: Grant
    grant_token: str
