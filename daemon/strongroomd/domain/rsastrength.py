"""What is wrong with an RSA key, as arithmetic: of its public half, and of all its numbers.

Found without a secret: size, exponent, small factors, primes too close (Fermat), the pattern of ROCA's primes
(Nemec et al., CCS 2017). Rules for sizes and exponents: FIPS 186-5, A.1.1 and A.1.3.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

LEAST_EXPONENT: Final = 65_537
_EXPONENT_BITS: Final = 256
_SMALL: Final = 10_000  # factors below are looked for
_FERMAT_ROUNDS: Final = 100
_ROCA_PRIMES_BELOW: Final = 168
_ROCA_GENERATOR: Final = 65_537
_CLOSE_BITS: Final = 100  # FIPS 186-5, A.1.3: |p - q| > 2^(nlen/2 - 100)


@dataclass(frozen=True, slots=True, repr=False)
class RsaNumbers:
    """All numbers of a private key (RFC 8017, 3.2); no repr, since most are secret."""

    n: int
    e: int
    d: int
    p: int
    q: int
    dp: int
    dq: int
    qi: int


def public_weakness(modulus: int, exponent: int, bits: int) -> str:
    """Say what is wrong with a public key that should have a modulus of so many bits; empty if nothing is."""
    if modulus.bit_length() != bits:
        return f"its modulus is not of {bits:,} bits"
    if not exponent & 1 or not LEAST_EXPONENT <= exponent < 1 << _EXPONENT_BITS:
        return "its public exponent is not odd, at least 65,537 and below 2^256"
    if math.gcd(modulus, _small_primes_product()) != 1:
        return "its modulus has a small factor"
    if _is_square(modulus) or _has_close_factors(modulus):
        return "its primes are equal or too close to each other"
    if _is_roca(modulus):
        return "its primes have the pattern of a broken generator (ROCA)"
    return ""


def private_weakness(key: RsaNumbers) -> str:
    """Say which of a private key's numbers do not fit together; empty if all do. Primality is not tried."""
    half = key.n.bit_length() // 2
    if key.p * key.q != key.n or key.p == key.q:
        return "its primes do not make its modulus"
    if (
        key.p.bit_length() != half
        or key.q.bit_length() != half
        or abs(key.p - key.q) >> (half - _CLOSE_BITS) == 0
    ):
        return "its primes are not of half the modulus's size, or too close to each other"
    if not 1 << half < key.d < key.n or key.e * key.d % math.lcm(key.p - 1, key.q - 1) != 1:
        return "its private exponent does not belong to its public one, or is too small"
    if (key.dp, key.dq) != (key.d % (key.p - 1), key.d % (key.q - 1)) or key.qi * key.q % key.p != 1:
        return "its CRT numbers do not belong to its primes"
    return ""


@cache
def _primes(below: int) -> tuple[int, ...]:
    return tuple(n for n in range(2, below) if all(n % d for d in range(2, math.isqrt(n) + 1)))


@cache
def _small_primes_product() -> int:
    return math.prod(_primes(_SMALL))


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


def _has_close_factors(modulus: int) -> bool:
    """Fermat's method, for some rounds."""
    start = math.isqrt(modulus) + 1
    return any(_is_square(a * a - modulus) for a in range(start, start + _FERMAT_ROUNDS))


@cache
def _roca_residues() -> tuple[tuple[int, frozenset[int]], ...]:
    """Of each small prime, what a modulus of ROCA's kind may leave: the powers of its generator."""
    tables = []
    for prime in _primes(_ROCA_PRIMES_BELOW)[1:]:
        powers, power = set(), 1
        while power not in powers:
            powers.add(power)
            power = power * _ROCA_GENERATOR % prime
        tables.append((prime, frozenset(powers)))
    return tuple(tables)


def _is_roca(modulus: int) -> bool:
    return all(modulus % prime in residues for prime, residues in _roca_residues())
