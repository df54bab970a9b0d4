"""Use cases of what is attached to a principal: identity policies, and a role's trust policy and sessions."""

import dataclasses

from strongroomd.custody.accounts import NamedPolicy
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.passage import Passage
from strongroomd.custody.policysets import check_policy, policy_named, with_policy, without_policy
from strongroomd.custody.registrar import Registrar, refuse_root
from strongroomd.domain.accounts import PrincipalKind, PrincipalRecord, kind_of, policy_name, role_seconds
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import invalid
from strongroomd.domain.policy import PolicyKind
from strongroomd.domain.principals import Principal


class Attachments(UseCases):
    """Policies of principals, managed by administrators of their account; in force within a second."""

    def __init__(self, gate: Gate, registrar: Registrar) -> None:
        super().__init__(gate)
        self._registrar = registrar

    @gated(Action.PUT_IDENTITY_POLICY)
    async def put_policy(
        self, passage: Passage, arn: str, name: str, text: str, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Attach an identity policy, or replace the one of this name."""
        principal, label = self._registrar.claim(passage, arn), policy_name(name)
        refuse_root(principal)
        check_policy(text, PolicyKind.IDENTITY)

        def edit(current: PrincipalRecord) -> PrincipalRecord:
            return dataclasses.replace(current, policies=with_policy(current.policies, label, text))

        return await self._registrar.change(passage, principal, edit, etag, request_id, [label, text])

    @gated(Action.DELETE_IDENTITY_POLICY)
    async def delete_policy(
        self, passage: Passage, arn: str, name: str, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Take an identity policy away. Raises NOT_FOUND."""
        principal, label = self._registrar.claim(passage, arn), policy_name(name)

        def edit(current: PrincipalRecord) -> PrincipalRecord:
            return dataclasses.replace(current, policies=without_policy(current.policies, label))

        return await self._registrar.change(passage, principal, edit, etag, request_id, label)

    @gated(Action.GET_IDENTITY_POLICY)
    async def get_policy(self, passage: Passage, arn: str, name: str) -> NamedPolicy:
        """Read an identity policy. Raises NOT_FOUND."""
        label = policy_name(name)
        record = await self._registrar.read(passage, arn)
        return NamedPolicy(label, policy_named(record.policies, label), str(record.row_version))

    @gated(Action.LIST_IDENTITY_POLICIES)
    async def list_policies(self, passage: Passage, arn: str) -> PrincipalRecord:
        """List the names of a principal's identity policies."""
        return await self._registrar.read(passage, arn)

    def _claim_role(self, passage: Passage, arn: str) -> Principal:
        principal = self._registrar.claim(passage, arn)
        if kind_of(principal) is not PrincipalKind.ROLE:
            raise invalid("principal", "must be a role")
        return principal

    @gated(Action.PUT_TRUST_POLICY)
    async def put_trust_policy(
        self, passage: Passage, arn: str, text: str, seconds: int = 0, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Say who may assume a role from now on, and for how long; 0 keeps the longest session as it is.

        Sessions that were begun go on: to end them, revoke them.
        """
        role = self._claim_role(passage, arn)
        check_policy(text, PolicyKind.TRUST)
        longest = role_seconds(seconds) if seconds else 0

        def edit(current: PrincipalRecord) -> PrincipalRecord:
            most = longest or current.max_session_seconds
            return dataclasses.replace(current, trust_policy=text, max_session_seconds=most)

        return await self._registrar.change(passage, role, edit, etag, request_id, [text, seconds])

    @gated(Action.REVOKE_ROLE_SESSIONS)
    async def revoke_sessions(
        self, passage: Passage, arn: str, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """End every session of a role that was begun before."""
        role = self._claim_role(passage, arn)

        def edit(current: PrincipalRecord) -> PrincipalRecord:
            return dataclasses.replace(current, session_epoch=current.session_epoch + 1)

        return await self._registrar.change(passage, role, edit, etag, request_id, None)
