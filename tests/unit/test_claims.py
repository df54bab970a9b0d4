"""What metadata may say of a caller: read strictly, and refused from whoever may not say it."""

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import NO_BEHALF, Behalf, Principal
from strongroomd.frontends.grpc.claims import NO_CLAIMS, Claims, read_claims, require_trusted

ALICE = "arn:aws:iam::111122223333:user/alice"


@pytest.mark.parametrize("metadata", [None, (), (("user-agent", "x"), ("x-strongroom-session", "t"))])
def test_ordinary_metadata_says_nothing(metadata: tuple[tuple[str, str], ...] | None) -> None:
    assert read_claims(metadata) is NO_CLAIMS


def test_everything_that_can_be_said() -> None:
    metadata = (
        ("strongroom-session", "token"),
        ("strongroom-via-service", "s3.local-1.example.org"),
        ("strongroom-caller-account", "111122223333"),
        ("strongroom-source-principal", ALICE),
    )

    assert read_claims(metadata) == Claims("token", Behalf("s3.local-1.example.org", "111122223333", ALICE))


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("strongroom-sesion", "t", "metadata"),
        ("strongroom-session-bin", b"t", "metadata"),
        ("strongroom-", "t", "metadata"),
        ("strongroom-session", "", "strongroom-session"),
        ("strongroom-session", "t" * 2_049, "strongroom-session"),
        ("strongroom-via-service", "a b", "strongroom-via-service"),
        ("strongroom-via-service", "-a", "strongroom-via-service"),
        ("strongroom-via-service", "a" * 257, "strongroom-via-service"),
        ("strongroom-caller-account", "1234", "strongroom-caller-account"),
        ("strongroom-caller-account", "1" * 13, "strongroom-caller-account"),
        ("strongroom-source-principal", "alice", "strongroom-source-principal"),
        ("strongroom-source-principal", "", "strongroom-source-principal"),
    ],
)
def test_what_is_badly_said_is_refused_by_name(key: str, value: str | bytes, field: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        read_claims(((key, value),))

    assert caught.value.field == field


def test_what_is_said_twice_is_refused() -> None:
    with pytest.raises(StrongroomError) as caught:
        read_claims((("strongroom-session", "a"), ("strongroom-session", "a")))

    assert caught.value.field == "strongroom-session"


def test_only_a_trusted_service_says_for_whom_it_calls() -> None:
    service = Principal("arn:aws:iam::111122223333:service/s3", "111122223333", trusted=True)
    administrator = Principal(ALICE, "111122223333", administrator=True, operator=True)

    require_trusted(Behalf("s3"), service)
    require_trusted(NO_BEHALF, administrator)
    with pytest.raises(StrongroomError) as caught:
        require_trusted(Behalf("s3"), administrator)
    assert caught.value.reason is Reason.ACCESS_DENIED
