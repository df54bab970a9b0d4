"""Use cases of callers themselves: who they are, and which role they assume."""

from dataclasses import dataclass, field

from strongroomd.custody.asking import call_of
from strongroomd.custody.clock import Clock
from strongroomd.custody.directory import Directory
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.passage import Passage
from strongroomd.custody.sessions import Sessions
from strongroomd.domain.accounts import (
    PrincipalKind,
    PrincipalRecord,
    PrincipalState,
    kind_of,
    session_name,
    session_seconds,
)
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.limits import MAX_ROLE_SECONDS
from strongroomd.domain.policy import Request, Resource, Subject
from strongroomd.domain.policy.circumstances import Circumstances
from strongroomd.domain.principals import Caller, RoleSession, parse_principal


@dataclass(frozen=True, slots=True)
class Assumed:
    """A role session and its token, which is shown to whoever assumed the role and nobody else."""

    session: RoleSession
    token: str = field(repr=False)


class Access(UseCases):
    """Who is who."""

    def __init__(self, gate: Gate, directory: Directory, sessions: Sessions, clock: Clock) -> None:
        super().__init__(gate)
        self._clock = clock
        self._directory = directory
        self._sessions = sessions

    @gated(Action.GET_CALLER_IDENTITY)
    async def caller_identity(self, passage: Passage) -> Caller:
        """Say who the caller is."""
        passage.claim_keyless()
        return passage.caller

    @gated(Action.ASSUME_ROLE)
    async def assume_role(
        self, passage: Passage, role: str, name: str, certificate: str, seconds: int = 0
    ) -> Assumed:
        """Begin a session of a role, as its trust policy allows.

        Args:
            passage: the call.
            role: the role's ARN.
            name: what the session is to be called.
            certificate: SHA-256 (hex) of the caller's certificate, the only one that may use the session.
            seconds: how long; 0 for an hour, or less where the role's maximum is.

        Raises:
            StrongroomError: ACCESS_DENIED for roles that do not exist or do not trust the caller, alike.
        """
        wanted = parse_principal(role, "role")
        if kind_of(wanted) is not PrincipalKind.ROLE:
            raise invalid("role", "must be a role")
        checked = session_name(name)
        if seconds:
            session_seconds(seconds, MAX_ROLE_SECONDS)
        passage.facts |= {"resource": wanted.arn, "session_name": checked}
        await self._directory.catch_up()
        record = self._trusting(passage.caller, wanted.arn)
        passage.claim_own()
        lasting = session_seconds(seconds, record.max_session_seconds)
        session = RoleSession(
            role=record.arn,
            name=checked,
            source=passage.caller.principal.arn,
            certificate=certificate,
            expires_at=self._clock.wall_ms() + 1000 * lasting,
            unique_id=record.unique_id,
            epoch=record.session_epoch,
        )
        return Assumed(session, await self._sessions.token(session))

    def _trusting(self, caller: Caller, role: str) -> PrincipalRecord:
        """Give a role that trusts the caller. A session is no caller to trust: roles do not chain."""
        record = self._directory.principal(role)
        usable = record is not None and record.state is PrincipalState.ENABLED and record.trust_policy
        if record is None or not usable or caller.session is not None:
            raise _untrusted("no such role, or a role session asks")
        standing = self._directory.standing(caller.principal.arn)
        try:
            decision = self._directory.trust(record).decide(self._request(caller, record), standing)
        except StrongroomError as error:
            raise _untrusted(error.detail or "") if error.reason is Reason.ACCESS_DENIED else error from None
        if not decision.allowed:
            raise _untrusted(decision.ground)
        return record

    def _request(self, caller: Caller, record: PrincipalRecord) -> Request:
        subject = Subject(caller.principal.arn, caller.principal.account)
        context = Circumstances(
            action=Action.ASSUME_ROLE,
            subject=subject,
            call=call_of(self._clock, caller),
            principal_tags=dict(caller.principal.tags),
        )
        return Request(Action.ASSUME_ROLE, subject, Resource(record.arn, record.account), context)


def _untrusted(detail: str) -> StrongroomError:
    text = "the role does not exist, or the caller may not assume it"
    return StrongroomError(Reason.ACCESS_DENIED, text, detail=detail)
