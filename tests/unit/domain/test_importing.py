"""How material may come in, for how long, and what an import token says."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.importing import (
    LEVELS,
    ExpirationModel,
    ImportLevel,
    ImportToken,
    WrappingAlgorithm,
    WrappingKeySpec,
    fresh_token,
    model_of,
    parse_token,
    settle_expiry,
    settle_way,
)

W, L, B = WrappingAlgorithm, ImportLevel, WrappingKeySpec
DAY = 24 * 3600 * 1000
NOW = 1_800_000_000_000


@pytest.mark.parametrize(("algorithm", "bits"), list(product(W, B)))
def test_rsa_keys_and_p521_under_rsa_2048_do_not_come_by_oaep(
    algorithm: WrappingAlgorithm, bits: WrappingKeySpec
) -> None:
    for spec in KeySpec:
        too_long = not algorithm.has_key_wrap and (
            spec.startswith("RSA") or (spec is KeySpec.ECC_NIST_P521 and bits is B.RSA_2048)
        )
        if too_long:
            with pytest.raises(StrongroomError) as caught:
                settle_way(spec, algorithm, bits, None, L.HOST)
            assert caught.value.reason is Reason.UNSUPPORTED_ALGORITHM
        else:
            assert settle_way(spec, algorithm, bits, None, L.HOST).level is LEVELS[algorithm][0]


@pytest.mark.parametrize(("algorithm", "level"), list(product(W, L)))
def test_a_level_that_the_algorithm_does_not_give_is_refused(
    algorithm: WrappingAlgorithm, level: ImportLevel
) -> None:
    if level in LEVELS[algorithm]:
        assert settle_way(KeySpec.HMAC_256, algorithm, B.RSA_2048, level, L.HOST).level is level
        return
    with pytest.raises(StrongroomError) as caught:
        settle_way(KeySpec.HMAC_256, algorithm, B.RSA_2048, level, L.HOST)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "level")


def test_levels_are_named_for_what_happens_with_softhsm() -> None:
    assert {algorithm: levels[0].value for algorithm, levels in LEVELS.items()} == {
        W.RSAES_OAEP_SHA_1: "token",
        W.RSAES_OAEP_SHA_256: "host",
        W.RSA_AES_KEY_WRAP_SHA_1: "token",
        W.RSA_AES_KEY_WRAP_SHA_256: "host-ephemeral",
    }


@pytest.mark.parametrize(
    ("least", "taken"),
    [
        (L.TOKEN, {W.RSAES_OAEP_SHA_1, W.RSA_AES_KEY_WRAP_SHA_1}),
        (L.HOST_EPHEMERAL, {W.RSAES_OAEP_SHA_1, W.RSA_AES_KEY_WRAP_SHA_1, W.RSA_AES_KEY_WRAP_SHA_256}),
        (L.HOST, set(W)),
    ],
)
def test_what_gives_less_than_the_configuration_demands_is_refused(
    least: ImportLevel, taken: set[WrappingAlgorithm]
) -> None:
    for algorithm in taken:
        assert settle_way(KeySpec.HMAC_256, algorithm, B.RSA_2048, None, least).level.satisfies(least)
    for algorithm in set(W) - taken:
        with pytest.raises(StrongroomError) as caught:
            settle_way(KeySpec.HMAC_256, algorithm, B.RSA_2048, None, least)
        assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "wrapping_algorithm")


def test_a_weaker_level_is_not_slipped_in_by_asking_for_it() -> None:
    with pytest.raises(StrongroomError):
        settle_way(KeySpec.HMAC_256, W.RSA_AES_KEY_WRAP_SHA_256, B.RSA_2048, L.HOST, L.HOST_EPHEMERAL)


E, N = ExpirationModel.KEY_MATERIAL_EXPIRES, ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE


@pytest.mark.parametrize(
    ("model", "valid_to", "expected"),
    [(E, NOW + 1, NOW + 1), (None, NOW + 365 * DAY, NOW + 365 * DAY), (N, 0, 0)],
)
def test_expiry_is_in_the_future_and_within_a_year(
    model: ExpirationModel | None, valid_to: int, expected: int
) -> None:
    assert settle_expiry(model, valid_to, NOW) == expected
    assert model_of(expected) is (model or E)


@pytest.mark.parametrize(
    ("model", "valid_to"),
    [(E, 0), (None, 0), (E, NOW), (E, NOW - 1), (E, NOW + 365 * DAY + 1), (N, NOW + DAY)],
)
def test_expiry_that_is_absent_past_too_late_or_of_no_use_is_refused(
    model: ExpirationModel | None, valid_to: int
) -> None:
    with pytest.raises(StrongroomError) as caught:
        settle_expiry(model, valid_to, NOW)

    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "valid_to")


@given(st.binary(min_size=16, max_size=16), st.integers(0, 1 << 62), st.binary(min_size=32, max_size=32))
def test_a_token_reads_as_it_was_spelt(import_id: bytes, ends: int, mac: bytes) -> None:
    token = ImportToken(import_id.hex(), ends)

    assert parse_token(token.spell(mac)) == (token, mac)


@given(st.binary(max_size=80))
def test_whatever_is_no_token_is_refused_by_its_reason(raw: bytes) -> None:
    if len(raw) == 57 and raw[0] == 1:
        token, mac = parse_token(raw)
        assert token.spell(mac) == raw
        return
    with pytest.raises(StrongroomError) as caught:
        parse_token(raw)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_IMPORT_TOKEN, "import_token")


@given(st.sampled_from(["", "a", "ab", "ab\0"]), st.sampled_from(["", "a", "b", "ab", "ab\0"]))
def test_what_is_under_the_mac_differs_for_every_key(one: str, other: str) -> None:
    token = fresh_token("ab" * 16, NOW)

    assert (token.message(one) == token.message(other)) is (one == other)


def test_a_token_is_good_for_a_day() -> None:
    assert fresh_token("ab" * 16, NOW).expires_at == NOW + DAY
