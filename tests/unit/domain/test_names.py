"""Names of keys: four spellings, and nothing else."""

import pytest

from strongroomd.domain import names
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.names import KeyName, Realm

OWN, FOREIGN = "111122223333", "999988887777"
ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-" + "0af1" * 8
ARABIC = "\u0661" * 12  # digits, but none of ASCII's
REALM = Realm("local-1", OWN)


@pytest.mark.parametrize("key_id", [ID, MRK])
def test_an_id_and_its_arn_mean_the_same(key_id: str) -> None:
    assert REALM.parse_key(key_id, OWN) == REALM.parse_key(REALM.key_arn(key_id, OWN), FOREIGN)
    assert REALM.parse_key(key_id, OWN) == KeyName(OWN, key_id=key_id)


def test_an_alias_and_its_arn_mean_the_same() -> None:
    alias = "alias/pay/roll_1-x"

    assert REALM.parse_key(alias, OWN) == REALM.parse_key(REALM.alias_arn(alias, OWN), FOREIGN)
    assert REALM.parse_key(alias, FOREIGN).account == FOREIGN


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ID.upper(), ID + " ", " " + ID, ID + "\n", ID[:-1], ID + "0", ID.replace("-", ""), "{" + ID + "}",
        "mrk-" + "0" * 31, "mrk-" + "0" * 33, "MRK-" + "0" * 32, "mrk-" + "G" * 32, "urn:uuid:" + ID,
        ID.replace("1", "\uff11"), "key/" + ID,
        f"arn:aws:kms:local-1:{OWN}:key/" + ID.upper(), f"arn:aws:kms:local-2:{OWN}:key/{ID}",
        f"arn:aws:kms:local-1:{OWN}:key/", f"arn:aws:kms:local-1:{OWN[:-1]}:key/{ID}", f"ARN:aws:kms:local-1:{OWN}:key/{ID}",
        f"arn:aws-cn:kms:local-1:{OWN}:key/{ID}", f"arn:aws:s3:local-1:{OWN}:key/{ID}", f"arn:aws:kms:local-1::key/{ID}",
        f"arn:aws:kms:local-1:{OWN}:key/{ID}\n", f"arn:aws:kms:local-1:{OWN}:key/{ID}/x", f"arn:aws:kms:local-1:{OWN}:alias/",
        f"arn:aws:kms:local-1:{OWN}:alias/a b", f"arn:aws:kms:local-1:{OWN}:key:{ID}", f"arn:aws:kms:local-1:{ARABIC}:key/{ID}",
        "alias/", "alias", "Alias/x", "alias/x\n", "alias/x y", "alias/é", "alias/x\0", "alias/x.y", "alias/x:y", "/alias/x",
    ],
)  # fmt: skip
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        REALM.parse_key(text, OWN, "some_key")

    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "some_key")


@pytest.mark.parametrize(("length", "good"), [(256, True), (257, False)])
def test_the_length_of_an_alias_is_bounded_exactly(length: int, good: bool) -> None:
    text = "alias/" + "a" * (length - 6)

    if good:
        assert names.alias_name(text) == text
    else:
        with pytest.raises(StrongroomError) as caught:
            names.alias_name(text)
        assert caught.value.reason is Reason.FIELD_TOO_LARGE


def test_a_name_of_over_512_characters_is_too_large() -> None:
    with pytest.raises(StrongroomError) as caught:
        REALM.parse_key("x" * 513, OWN)

    assert caught.value.reason is Reason.FIELD_TOO_LARGE


def test_aliases_under_aws_can_be_named_but_not_made() -> None:
    assert names.alias_name("alias/aws/ebs")
    with pytest.raises(StrongroomError):
        names.new_alias_name("alias/aws/ebs")


@pytest.mark.parametrize("text", ["a", "x" * 64, "550e8400-e29b-41d4-a716-446655440000", "A.b_C-1", ""])
def test_good_request_ids_are_taken(text: str) -> None:
    assert names.request_id(text) == text


@pytest.mark.parametrize("text", ["x" * 65, " ", "a b", "a\n", "é", "a/b", "\0"])
def test_bad_request_ids_are_refused(text: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        names.request_id(text)

    assert caught.value.field == "request_id"


@pytest.mark.parametrize("bad", ["\0", "\x1b[31m", "\x7f", "\ud800", "\r"])
def test_descriptions_hold_no_control_characters(bad: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        names.description(f"fine{bad}")

    assert caught.value.reason is Reason.INVALID_FIELD


def test_the_length_of_a_description_is_counted_in_characters() -> None:
    assert names.description("é" * 8_192)
    with pytest.raises(StrongroomError) as caught:
        names.description("a" * 8_193)
    assert caught.value.reason is Reason.FIELD_TOO_LARGE
