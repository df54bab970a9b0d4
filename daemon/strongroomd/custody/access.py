"""Use cases about callers themselves."""

from strongroomd.custody.gate import Passage, UseCases, gated
from strongroomd.domain.actions import Action
from strongroomd.domain.principals import Principal


class Access(UseCases):
    """Who is who."""

    @gated(Action.GET_CALLER_IDENTITY)
    async def caller_identity(self, passage: Passage) -> Principal:
        """Say who the caller is."""
        passage.claim_keyless()
        return passage.caller.principal
