"""What the SDK says of its caller beyond the certificate: role sessions, and for whom a service calls."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.client.fake_daemon import QUICK, FakeDaemon, refusal

from strongroom import AsyncClient, Client, errors
from strongroom.settings import resolve
from strongroom.v1 import access_pb2

ROLE = "arn:aws:iam::111122223333:role/ops"


def sessions(seconds: float) -> Callable[[Any], access_pb2.AssumeRoleResponse]:
    """Answers of AssumeRole, each with a token of its own, that end in so many seconds."""
    count = 0

    def answer(_: Any) -> access_pb2.AssumeRoleResponse:
        nonlocal count
        count += 1
        made = access_pb2.AssumeRoleResponse(session_token=f"token-{count}")
        made.expire_time.FromSeconds(int(time.time() + seconds))
        return made

    return answer


def assuming(daemon: FakeDaemon) -> Client:
    return Client(dataclasses.replace(daemon.settings, assume_role=ROLE), retry=QUICK)


def test_a_role_is_assumed_once_and_all_calls_are_made_in_its_session(daemon: FakeDaemon) -> None:
    daemon.answers["AssumeRole"] = sessions(3_600)
    with assuming(daemon) as client:
        client.encrypt("alias/k", b"x")
        client.with_timeout(4.0).generate_random(16)

    assert daemon.methods == ["AssumeRole", "Encrypt", "GenerateRandom"]
    assert [given.get("strongroom-session") for given in daemon.metadata] == [None, "token-1", "token-1"]


def test_a_session_that_is_about_to_end_is_renewed(daemon: FakeDaemon) -> None:
    daemon.answers["AssumeRole"] = sessions(30)
    with assuming(daemon) as client:
        client.generate_random(16)
        client.generate_random(16)

    assert daemon.methods == ["AssumeRole", "GenerateRandom"] * 2
    assert daemon.metadata[3]["strongroom-session"] == "token-2"


def test_a_role_that_may_not_be_assumed_fails_the_call_with_that_refusal(daemon: FakeDaemon) -> None:
    daemon.faults.append(refusal("ACCESS_DENIED"))
    with assuming(daemon) as client, pytest.raises(errors.AccessDenied):
        client.generate_random(16)

    assert daemon.methods == ["AssumeRole"]


async def test_asyncio_does_the_same(daemon: FakeDaemon) -> None:
    daemon.answers["AssumeRole"] = sessions(3_600)
    settings = dataclasses.replace(daemon.settings, assume_role=ROLE)
    async with AsyncClient(settings, retry=QUICK) as client:
        await client.generate_random(16)
        async with client.stream() as stream:
            await stream.encrypt("alias/k", b"x")

    assert daemon.methods == ["AssumeRole", "GenerateRandom", "Operate", "Encrypt"]
    assert daemon.metadata[1]["strongroom-session"] == "token-1"


def test_views_add_what_they_say_and_leave_the_client_alone(client: Client, daemon: FakeDaemon) -> None:
    view = client.with_session("t").on_behalf_of(
        via_service="s3.local-1",
        caller_account="444455556666",
        source_principal=ROLE,
        source_arn="arn:aws:s3:::b",
        source_account="444455556666",
    )

    view.generate_random(16)
    client.generate_random(16)

    ours = [{k: v for k, v in given.items() if k.startswith("strongroom-")} for given in daemon.metadata]
    assert ours == [
        {
            "strongroom-session": "t",
            "strongroom-via-service": "s3.local-1",
            "strongroom-caller-account": "444455556666",
            "strongroom-source-principal": ROLE,
            "strongroom-source-arn": "arn:aws:s3:::b",
            "strongroom-source-account": "444455556666",
        },
        {},
    ]


def test_tokens_and_secrets_have_no_repr(client: Client, daemon: FakeDaemon) -> None:
    daemon.answers["AssumeRole"] = lambda _: access_pb2.AssumeRoleResponse(session_token="canary")
    daemon.answers["CreateAccessKey"] = lambda _: access_pb2.CreateAccessKeyResponse(
        secret_access_key="canary"
    )

    shown = repr(client.assume_role(ROLE, "s")) + repr(client.create_access_key(ROLE))

    assert "canary" not in shown


def test_the_role_comes_from_argument_environment_or_profile() -> None:
    given = {"endpoint": "host:1", "ca": "ca", "cert": "cert", "key": "key"}
    environment = {"STRONGROOM_CLIENT_CONFIG": "/nowhere", "STRONGROOM_ASSUME_ROLE": ROLE}

    assert resolve(given, environ=environment).assume_role == ROLE
    assert resolve({**given, "assume_role": "arn:other"}, environ=environment).assume_role == "arn:other"
    with pytest.raises(errors.ConfigurationError) as raised:
        resolve({**given, "assume_role": "ops"}, environ=environment)
    assert raised.value.field == "assume_role"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"uri": "a", "dns": "b"},
        {"subject": "CN=a"},
        {"issuer_spki_sha256": "0" * 64},
        {"uri": "a", "issuer_spki_sha256": "0" * 64},
    ],
)
def test_an_identity_is_one_fact(client: Client, daemon: FakeDaemon, facts: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        client.add_identity("arn", **facts)

    assert (raised.value.field, daemon.methods) == ("fact", [])
