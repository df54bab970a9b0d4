"""What the daemon does of itself, written down before and after, as callers' mutations are."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from strongroomd.custody.catalog import Catalog
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.passage import Passage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import KeyRecord
from strongroomd.ports import AuditLog

UNCHANGED: Final = "UNCHANGED"
BY_UPKEEP: Final = {"kind": "outcome", "principal": "upkeep", "outcome": "OK"}


@asynccontextmanager
async def settled(passage: Passage, lost: Reason) -> AsyncIterator[None]:
    """Write down how a change ends that the daemon makes of itself, outside any gated use case.

    Args:
        passage: the change; its action is audited.
        lost: the error that says that somebody else was first: then nothing was changed, and all is well.
    """
    try:
        yield
    except StrongroomError as error:
        await passage.outcome(UNCHANGED if error.reason is lost else error.reason.value)
        if error.reason is not lost:
            raise
    except BaseException:
        await passage.outcome(Reason.INTERNAL.value)
        raise
    else:
        await passage.outcome("OK")


class Diary:
    """Upkeep's audit records.

    Args:
        ledger: finds a key's account.
        catalog: spells its ARN.
        audit: this worker's chain.
    """

    def __init__(self, ledger: Ledger, catalog: Catalog, audit: AuditLog) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._audit = audit

    @asynccontextmanager
    async def told(self, action: str, key_id: str, version: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Write down what upkeep is about to do to a key and how that ended, however it ends.

        Yields the record of the outcome; whoever finds nothing to do puts UNCHANGED in it.
        """
        key = await self._ledger.read(KeyRecord, key_id)
        arn = self._catalog.realm.key_arn(key_id, key.account if key else "")
        facts: dict[str, Any] = {"key": arn} | ({"version": version} if version else {})
        async with self.noted(action, facts) as told:
            yield told

    @asynccontextmanager
    async def noted(self, action: str, facts: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Do the same of anything that facts name; none of them a secret."""
        told: dict[str, Any] = {**BY_UPKEEP, "action": action, **facts}
        await self._audit.write({**told, "kind": "intent", "outcome": "PENDING"})
        try:
            yield told
        except StrongroomError as error:
            told["outcome"] = error.reason.value
            raise
        except BaseException:  # a bug, or the worker ends
            told["outcome"] = Reason.INTERNAL.value
            raise
        finally:
            await self._audit.write(told)
