"""RSA keys that are weak or do not fit together, told by arithmetic alone."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from strongroomd.domain.rsastrength import RsaNumbers, private_weakness, public_weakness


def numbers_of(key: rsa.RSAPrivateKey) -> RsaNumbers:
    own = key.private_numbers()
    public = own.public_numbers
    return RsaNumbers(public.n, public.e, own.d, own.p, own.q, own.dmp1, own.dmq1, own.iqmp)


GOOD = numbers_of(rsa.generate_private_key(65_537, 2_048))


def test_keys_of_a_good_library_pass() -> None:
    for _ in range(3):
        key = numbers_of(rsa.generate_private_key(65_537, 2_048))
        assert public_weakness(key.n, key.e, 2_048) == private_weakness(key) == ""


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 17, 65_535, 65_538, (1 << 256) + 1])
def test_exponent_must_be_odd_and_between_its_bounds(exponent: int) -> None:
    assert "exponent" in public_weakness(GOOD.n, exponent, 2_048)


@pytest.mark.parametrize("exponent", [65_537, 65_539, (1 << 256) - 1])
def test_exponents_within_the_bounds_pass(exponent: int) -> None:
    assert not public_weakness(GOOD.n, exponent, 2_048)


@pytest.mark.parametrize("bits", [1_024, 2_047, 2_049, 3_072])
def test_modulus_of_another_size_is_named(bits: int) -> None:
    assert f"{bits:,} bits" in public_weakness(GOOD.n, GOOD.e, bits)


@pytest.mark.parametrize("factor", [2, 3, 9_973])
def test_small_factors_are_found(factor: int) -> None:
    modulus = (1 << 2_047) + factor - (1 << 2_047) % factor

    assert "small factor" in public_weakness(modulus, 65_537, 2_048)


def test_square_and_close_primes_are_found() -> None:
    p = GOOD.p
    assert "too close" in public_weakness(p * p, 65_537, (p * p).bit_length())
    near = p + 2
    while not all(near % factor for factor in range(3, 10_000, 2)):
        near += 2
    assert "too close" in public_weakness(p * near, 65_537, (p * near).bit_length())


def test_primes_of_the_broken_generators_form_are_found() -> None:
    """Of the form k * M + 65537^a mod M (Nemec et al., section 2): the fingerprint needs no real primes."""
    made = [_roca_like(seed) for seed in (2, 3)]
    modulus = made[0] * made[1]

    assert "ROCA" in public_weakness(modulus, 65_537, modulus.bit_length())


def _roca_like(seed: int) -> int:
    big = 1
    for prime in (n for n in range(2, 168) if all(n % d for d in range(2, n))):
        big *= prime
    k = (1 << 1_023) // big * seed
    while True:
        candidate = k * big + pow(65_537, seed + k, big)
        if all(candidate % n for n in range(3, 10_000, 2)) and candidate % 2:
            return candidate
        k += 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"p": GOOD.p + 2}, "primes"),
        ({"p": GOOD.q, "q": GOOD.q}, "primes"),
        ({"p": 1, "q": GOOD.n}, "primes"),
        ({"d": GOOD.d + 2}, "private exponent"),
        ({"d": 3}, "private exponent"),
        ({"d": GOOD.d + (GOOD.p - 1) * (GOOD.q - 1) * 4}, "private exponent"),
        ({"dp": GOOD.dp + 1}, "CRT"),
        ({"dq": GOOD.dq + 1}, "CRT"),
        ({"qi": GOOD.qi + 1}, "CRT"),
    ],
)
def test_numbers_that_do_not_fit_are_named(changes: dict[str, int], word: str) -> None:
    assert word in private_weakness(dataclasses.replace(GOOD, **changes))


def test_no_number_of_a_key_is_in_its_repr() -> None:
    assert str(GOOD.p) not in repr(GOOD)
