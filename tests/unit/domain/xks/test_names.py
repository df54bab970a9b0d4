"""Names of external key stores: exactly what AWS KMS accepts, and nothing that a URI could spell twice."""

import base64
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.xks import names
from strongroomd.domain.xks.metadata import RequestMetadata

Check = Callable[[str], str]
UUID = "0d990263-018e-4e65-a703-eff731de951e"


@pytest.mark.parametrize("text", ["", "/a", "/example/uri/path/prefix", "/A-z_0/9", "/" + "a" * 116])
def test_prefixes(text: str) -> None:
    assert names.uri_prefix(text) == text


@pytest.mark.parametrize(
    "text", ["a", "/", "/a/", "//a", "/a//b", "/a.b", "/a%20b", "/ä", "/a?b", "/a#b", "/a\n", " /a", "/.."]
)
def test_no_prefixes(text: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        names.uri_prefix(text)

    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "uri_prefix")


@pytest.mark.parametrize("text", ["a", "A.b_c-9", "x" * 128, "..."])
def test_external_key_ids(text: str) -> None:
    assert names.external_key_id(text) == text


@pytest.mark.parametrize("text", ["", "a/b", "a b", "é", "a\n", "a%2Fb", "a\0"])
def test_no_external_key_ids(text: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        names.external_key_id(text)

    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "external_key_id")


@pytest.mark.parametrize(
    ("check", "longest"),
    [(names.uri_prefix, "/" + "a" * 116), (names.external_key_id, "x" * 128)],
)
def test_one_character_more_is_too_large(check: Check, longest: str) -> None:
    assert check(longest) == longest
    with pytest.raises(StrongroomError) as caught:
        check(longest + "a")
    assert caught.value.reason is Reason.FIELD_TOO_LARGE


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (
            names.store_id,
            ["", "xks-", "xks-0123456789abcdeg", "XKS-0123456789abcdef", "xks-0123456789abcdef0"],
        ),
        (names.access_key_id, ["", "A" * 19, "A" * 31, "a" * 24, "A" * 23 + "1", "A" * 23 + "8"]),
        (
            names.kms_key_arn,
            [
                "x",
                f"arn:aws:kms:eu-west-1:11112222333:key/{UUID}",
                f"arn:aws:kms::111122223333:key/{UUID}",
                "arn:aws:kms:eu-west-1:111122223333:alias/a",
                "arn:aws:kms:eu-west-1:111122223333:key/",
                "arn:aws:kms:eu-west-1:111122223333:key/*",
                f"arn:aws:s3:eu-west-1:111122223333:key/{UUID}",
                f"arn:aws:kms:eu-west-1:111122223333:key/{UUID}\n",
            ],
        ),
    ],
)
def test_what_is_no_name_is_refused(check: Check, bad: list[str]) -> None:
    for text in bad:
        with pytest.raises(StrongroomError) as caught:
            check(text)
        assert caught.value.reason is Reason.INVALID_FIELD, text


@pytest.mark.parametrize(
    ("access_key_id", "possible"),
    [
        ("A" * 20, True),
        ("A" * 30, True),
        ("A" * 19, False),
        ("A" * 31, False),
        ("a" * 20, False),
        ("A" * 19 + "1", False),
    ],
)
def test_ids_that_no_credential_can_have_need_no_search(access_key_id: str, possible: bool) -> None:
    assert names.is_access_key_id(access_key_id) is possible


@pytest.mark.parametrize("arn", [
    f"arn:aws:kms:eu-west-1:111122223333:key/{UUID}",
    f"arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-{UUID.replace('-', '')}",
])  # fmt: skip
def test_arns_of_kms_keys(arn: str) -> None:
    assert names.kms_key_arn(arn) == arn


@given(st.binary(min_size=names.SECRET_BYTES, max_size=names.SECRET_BYTES))
def test_secrets_are_of_aws_s_alphabet_and_whole(random: bytes) -> None:
    secret = names.secret_of(random)

    assert re.fullmatch(r"[A-Za-z0-9/+=]{43,64}", secret)
    assert base64.b64decode(secret) == random
    assert names.SECRET_BYTES * 8 >= 256


@given(
    st.binary(min_size=names.ACCESS_KEY_ID_BYTES, max_size=names.ACCESS_KEY_ID_BYTES),
    st.binary(min_size=names.STORE_ID_BYTES, max_size=names.STORE_ID_BYTES),
)
def test_ids_that_are_made_up_are_ids(random: bytes, more: bytes) -> None:
    assert names.access_key_id(names.access_key_id_of(random))
    assert names.store_id(names.store_id_of(more))


@given(st.text(max_size=60), st.text(max_size=60))
def test_of_any_text_the_accounts_and_the_region_can_be_asked(principal: str, key: str) -> None:
    metadata = RequestMetadata("", "", principal, key)

    assert all(
        isinstance(part, str)
        for part in (metadata.principal_account, metadata.key_account, metadata.key_region)
    )
    assert set(metadata.told().values()) <= {principal, key}


def test_what_audit_records_say_of_a_request() -> None:
    full = RequestMetadata("id", "Encrypt", "p", "k", "vpc", "vpce", "ebs")

    assert full.told() == {
        "kms_request_id": "id", "kms_operation": "Encrypt", "aws_principal": "p", "kms_key": "k",
        "source_vpc": "vpc", "source_vpce": "vpce", "aws_via_service": "ebs",
    }  # fmt: skip
    assert RequestMetadata("", "Encrypt").told() == {"kms_operation": "Encrypt"}
