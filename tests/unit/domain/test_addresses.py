"""What an address counts as, and which are remembered of an access key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.addresses import KEPT_MS, network_of, with_new
from strongroomd.domain.limits import MAX_ADDRESSES

MANY = [f"192.0.2.{n}" for n in range(MAX_ADDRESSES)]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", ""),
        ("192.0.2.1:443", ""),
        ("192.0.2.01", ""),
        ("192.0.2.0/24", ""),
    ],
)
def test_what_an_address_counts_as(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_known_address_changes_nothing_and_a_new_one_comes_last() -> None:
    kept = with_new((), ["192.0.2.1", "192.0.2.2", "192.0.2.1"], 5)

    assert kept == (("192.0.2.1", "5"), ("192.0.2.2", "5"))
    assert with_new(kept, ["192.0.2.2"], 9) == kept
    assert with_new(kept, ["192.0.2.3"], 9) == (*kept, ("192.0.2.3", "9"))


def test_the_oldest_is_forgotten_but_none_within_an_hour() -> None:
    full = with_new((), MANY, 0)

    assert with_new(full, ["198.51.100.1"], KEPT_MS - 1) == full
    later = with_new(full, ["198.51.100.1"], KEPT_MS)
    assert [network for network, _ in later] == [*MANY[1:], "198.51.100.1"]


_NETWORKS = st.lists(st.integers(0, 99).map(lambda n: f"192.0.2.{n}"), max_size=80)


@given(st.lists(st.tuples(_NETWORKS, st.integers(0, 3 * KEPT_MS)), max_size=4))
def test_memory_is_bounded_and_holds_each_address_once(uses: list[tuple[list[str], int]]) -> None:
    kept: tuple[tuple[str, str], ...] = ()
    for networks, now in uses:
        kept = with_new(kept, networks, now)

    names = [network for network, _ in kept]
    assert len(names) == len(set(names)) <= MAX_ADDRESSES
