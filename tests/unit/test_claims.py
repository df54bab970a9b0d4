"""What metadata may say of a caller: read strictly, and refused from whoever may not say it."""

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import NO_BEHALF, Behalf, Principal
from strongroomd.frontends.grpc.claims import NO_CLAIMS, Claims, read_claims, require_trusted

ALICE = "arn:aws:iam::111122223333:user/alice"
BUCKET = "arn:aws:s3:::payroll"
TRAIL = "arn:aws:cloudtrail:eu-central-1:444455556666:trail/all/of-it"


@pytest.mark.parametrize("metadata", [None, (), (("user-agent", "x"), ("x-strongroom-session", "t"))])
def test_ordinary_metadata_says_nothing(metadata: tuple[tuple[str, str], ...] | None) -> None:
    assert read_claims(metadata) is NO_CLAIMS


def test_everything_that_can_be_said() -> None:
    metadata = (
        ("strongroom-session", "token"),
        ("strongroom-via-service", "s3.local-1.example.org"),
        ("strongroom-caller-account", "111122223333"),
        ("strongroom-source-principal", ALICE),
        ("strongroom-source-arn", BUCKET),
        ("strongroom-source-account", "444455556666"),
    )

    behalf = Behalf("s3.local-1.example.org", "111122223333", ALICE, BUCKET, "444455556666")
    assert read_claims(metadata) == Claims("token", behalf)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("strongroom-source-arn", BUCKET, Behalf(source_arn=BUCKET)),
        ("strongroom-source-arn", TRAIL, Behalf(source_arn=TRAIL)),
        ("strongroom-source-account", "444455556666", Behalf(source_account="444455556666")),
        ("strongroom-via-service", "s3", Behalf("s3")),
    ],
)
def test_each_may_be_said_alone(key: str, value: str, expected: Behalf) -> None:
    assert read_claims(((key, value),)) == Claims("", expected)


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
        ("strongroom-source-arn", "", "strongroom-source-arn"),
        ("strongroom-source-arn", "bucket", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3::bucket", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3:::", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3:::buck*", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3:::buck?t", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3:::a b", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3::1234:b", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3:::b\n", "strongroom-source-arn"),
        ("strongroom-source-arn", "arn:aws:s3:::" + "b" * 2_036, "strongroom-source-arn"),
        ("strongroom-source-arn-bin", b"arn:aws:s3:::b", "metadata"),
        ("strongroom-source-account", "1234", "strongroom-source-account"),
        ("strongroom-source-account", "1" * 13, "strongroom-source-account"),
        ("strongroom-source-account", "", "strongroom-source-account"),
        ("strongroom-source", "x", "metadata"),
    ],
)
def test_what_is_badly_said_is_refused_by_name(key: str, value: str | bytes, field: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        read_claims(((key, value),))

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("key", "value"),
    [("strongroom-session", "a"), ("strongroom-source-arn", BUCKET)],
    ids=["session", "source"],
)
def test_what_is_said_twice_is_refused(key: str, value: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        read_claims(((key, value), (key, value)))

    assert caught.value.field == key


def test_only_a_trusted_service_says_for_whom_it_calls() -> None:
    service = Principal("arn:aws:iam::111122223333:service/s3", "111122223333", trusted=True)
    administrator = Principal(ALICE, "111122223333", administrator=True, operator=True)

    require_trusted(Behalf("s3"), service)
    require_trusted(NO_BEHALF, administrator)
    for said in (Behalf("s3"), Behalf(source_arn=BUCKET), Behalf(source_account="444455556666")):
        with pytest.raises(StrongroomError) as caught:
            require_trusted(said, administrator)
        assert caught.value.reason is Reason.ACCESS_DENIED
