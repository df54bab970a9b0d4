"""What both clients are made of and seen as: settings, deadlines, and whom their calls speak for.

A view is a client that shares another's connection, and says or waits otherwise.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from strongroom._identity import AssumedRole, Metadata, behalf_metadata, session_metadata
from strongroom.errors import invalid
from strongroom.retry import Attempts, Budget, RetryPolicy
from strongroom.settings import DEFAULT_TIMEOUT, MAX_TIMEOUT, Settings, make_settings, resolve


@dataclass(frozen=True, slots=True)
class Manner:
    """How calls are made: deadline in seconds (None for none), retries, and the tokens that calls share."""

    timeout: float | None
    retry: RetryPolicy
    budget: Budget

    def attempts(self, repeatable: bool) -> Attempts:  # noqa: FBT001 - handed on as a function of one fact
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        return Attempts(self.retry, self.budget, deadline, repeatable=repeatable, clock=time.monotonic)


class Views:
    """How a client is made, and the views of it.

    Args:
        settings: where the daemon is and who the caller is.
        retry: when to try again.
    """

    def __init__(self, settings: Settings, *, retry: RetryPolicy | None = None) -> None:
        policy = retry or RetryPolicy()
        self._manner = Manner(settings.timeout, policy, Budget(policy))
        self._role = AssumedRole(settings.assume_role) if settings.assume_role else None
        self._fixed: Metadata = ()

    @classmethod
    def connect(
        cls,
        endpoint: str,
        *,
        ca: str | Path,
        cert: str | Path,
        key: str | Path,
        server_name: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
    ) -> Self:
        """Make a client for `host:port` with PEM files: the daemon's authority, own certificate and key."""
        return cls(_settings(endpoint, ca, cert, key, server_name, timeout), retry=retry)

    @classmethod
    def from_environment(cls, profile: str | None = None, *, retry: RetryPolicy | None = None) -> Self:
        """Make a client from `STRONGROOM_...` variables and the profile file; see strongroom.settings."""
        return cls(resolve(profile=profile), retry=retry)

    def with_timeout(self, seconds: float | None) -> Self:
        """Make a view with another deadline per call, None for none; it shares the connection.

        Raises:
            InvalidRequest: it is no number of seconds above 0 and at most 86,400.
        """
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        view._manner = replace(self._manner, timeout=_deadline(seconds))
        return view

    def with_session(self, session_token: str) -> Self:
        """Make a view whose calls are made in a role session (`assume_role`); it shares the connection."""
        return self._saying(session_metadata(session_token))

    def on_behalf_of(
        self,
        *,
        via_service: str = "",
        caller_account: str = "",
        source_principal: str = "",
        source_arn: str = "",
        source_account: str = "",
    ) -> Self:
        """Make a view of a trusted service's client that says for whom it calls; others are refused.

        Args:
            via_service: the service's name, for kms:ViaService.
            caller_account: the account that it calls for, for kms:CallerAccount.
            source_principal: ARN of the principal that it calls for, for the audit log.
            source_arn: ARN of the resource that it calls for, for aws:SourceArn and grants.
            source_account: the account of that resource, for aws:SourceAccount and grants.
        """
        return self._saying(
            behalf_metadata(via_service, caller_account, source_principal, source_arn, source_account)
        )

    def _saying(self, metadata: Metadata) -> Self:
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        view._fixed = (*self._fixed, *metadata)
        return view


def _deadline(seconds: float | None) -> float | None:
    """Check the deadline of a view, for gRPC takes a wrong one for none or fails late."""
    if seconds is None:
        return None
    given: object = seconds
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given <= MAX_TIMEOUT:
        raise invalid("timeout", "must be a number of seconds, above 0 and at most 86,400")
    return float(given)


def _settings(
    endpoint: str, ca: str | Path, cert: str | Path, key: str | Path, server_name: str, timeout: float
) -> Settings:
    return make_settings(
        {
            "endpoint": endpoint,
            "ca": ca,
            "cert": cert,
            "key": key,
            "server_name": server_name,
            "timeout": timeout,
        }
    )
