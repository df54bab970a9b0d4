"""What the use cases about callers share: the right to an account, and changes that are in force at once."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from strongroomd.custody.directory import Directory
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain.accounts import PrincipalRecord
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.principals import Caller, Principal, parse_principal
from strongroomd.domain.records import Record

R = TypeVar("R", bound=Record)
Edit = Callable[[PrincipalRecord], PrincipalRecord]


class Registrar:
    """Finds and changes records of callers.

    Args:
        mutations: runs changes once.
        directory: follows each change before its caller is answered.
    """

    def __init__(self, mutations: Mutations, directory: Directory) -> None:
        self.mutations = mutations
        self.directory = directory

    def claim(self, passage: Passage, arn: str, field: str = "principal") -> Principal:
        """Claim the right to administer a principal, which may not exist.

        Raises:
            StrongroomError: INVALID_FIELD; ACCESS_DENIED for every principal of a foreign account alike.
        """
        principal = parse_principal(arn, field)
        passage.facts["resource"] = principal.arn
        passage.claim_account(principal.account)
        return principal

    async def read(self, passage: Passage, arn: str) -> PrincipalRecord:
        """Claim and read a principal. Raises NOT_FOUND, and whatever `claim` raises."""
        principal = self.claim(passage, arn)
        return known(await self.mutations.ledger.read(PrincipalRecord, principal.arn))

    async def once(
        self,
        passage: Passage,
        kind: type[R],
        request_id: str,
        arguments: object,
        work: Callable[[Change], Awaitable[R]],
    ) -> R:
        """Make a change once, and have this worker know of it before the caller does.

        Raises:
            StrongroomError: ACCESS_DENIED where it is about a principal of higher standing than the caller
                (an operator or a trusted service; an administrator for whom only a policy lets do this): who
                could give them access keys or trust policies could become them, or shut them out.
        """

        async def guarded(change: Change) -> R:
            await self._require_leave(passage, change)
            return await work(change)

        result = await self.mutations.once(passage, kind, request_id, arguments, guarded)
        await self.directory.refresh()
        return result

    async def _require_leave(self, passage: Passage, change: Change) -> None:
        arn = passage.facts["resource"]
        if passage.caller.principal.operator:
            return
        record = await change.get(PrincipalRecord, arn)
        if self.directory.is_operator(arn) or (record is not None and record.trusted):
            raise StrongroomError(Reason.ACCESS_DENIED, "only an operator may change this principal")
        if self.directory.is_administrator(arn) and not passage.caller.principal.administrator:
            raise StrongroomError(Reason.ACCESS_DENIED, "only an administrator may change this principal")

    async def change(
        self,
        passage: Passage,
        principal: Principal,
        edit: Edit,
        etag: str,
        request_id: str,
        arguments: object,
    ) -> PrincipalRecord:
        """Change one principal's record.

        Args:
            passage: the call, which has claimed the principal.
            principal: whose record.
            edit: gives the changed record; row_version is raised here. An equal one changes nothing.
            etag: refuses if somebody else came first; empty for no matter.
            request_id: the caller's idempotency key, or empty.
            arguments: what that key is bound to besides principal and etag.
        """

        async def work(change: Change) -> PrincipalRecord:
            current = known(await change.get(PrincipalRecord, principal.arn))
            check_etag(current.row_version, etag)
            edited = edit(current)
            return current if edited == current else await put_next(change, edited)

        bound = [principal.arn, arguments, etag]
        return await self.once(passage, PrincipalRecord, request_id, bound, work)


async def put_next(change: Change, record: Any) -> Any:  # noqa: ANN401 - any record in, the same kind out
    """Write the next version of a record."""
    following = dataclasses.replace(record, row_version=record.row_version + 1)
    await change.put(following)
    return following


def known(record: R | None, field: str = "principal") -> R:
    """Give a record that must be there. Raises NOT_FOUND: whoever asks may know it."""
    if record is None:
        raise StrongroomError(Reason.NOT_FOUND, field=field)
    return record


def refuse_self(caller: Caller, arn: str) -> None:
    """Refuse a change by which a caller would shut itself out: one that may administer must remain."""
    if arn in (caller.principal.arn, caller.session.source if caller.session else ""):
        raise invalid("principal", "must not be the caller's own principal")


def refuse_root(principal: Principal, field: str = "principal") -> None:
    """Refuse what an account's root cannot have: it stands for the account, and nobody calls as root."""
    if principal.arn.endswith(":root"):
        raise invalid(field, "must be a user, role or service: nobody calls as an account's root")
