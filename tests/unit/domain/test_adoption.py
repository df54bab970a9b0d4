"""Adopted objects: how they are named, what is said of them, and what a version may be used for."""

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.records import sample

from strongroomd.domain.adoption import (
    MAX_OBJECT_NAME,
    AdoptedObject,
    ObjectName,
    Trait,
    Use,
    described,
    object_name,
    uses_of,
)
from strongroomd.domain.algorithms import KeyUsage
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.policy import circumstances
from strongroomd.domain.records import CustodyMode, Origin, VersionRecord


@given(st.text(max_size=300), st.text(max_size=300))
def test_an_object_name_is_one_of_two_plain_ones_or_refused_at_its_field(cka_id: str, label: str) -> None:
    try:
        name = object_name(cka_id, label)
    except StrongroomError as error:
        fields = {error.field}
    else:
        fields = _checked(name, cka_id, label)
    assert fields <= {"cka_id", "label"}


def _checked(name: ObjectName, cka_id: str, label: str) -> set[str | None]:
    assert bool(name.cka_id) != bool(name.label)
    assert len(cka_id + label) <= MAX_OBJECT_NAME
    assert name.label.isprintable()
    assert bytes.fromhex(name.cka_id).hex() == name.cka_id
    return set()


@given(st.binary(min_size=1, max_size=128), st.booleans())
def test_every_id_can_be_named_in_either_case(value: bytes, upper: bool) -> None:
    text = value.hex().upper() if upper else value.hex()

    assert object_name(text, "") == ObjectName(cka_id=value.hex())


@pytest.mark.parametrize("wrong", ["", "c", "c0 de", "0xc0", "c0:de", string.ascii_letters])
def test_an_id_is_whole_bytes_in_hexadecimal_digits(wrong: str) -> None:
    with pytest.raises(StrongroomError):
        object_name(wrong, "")


WELL_KEPT = AdoptedObject(
    "c0de", "theirs", "SECRET_KEY", 32, (Use.ENCRYPT, Use.DECRYPT),
    tuple(trait for trait in Trait if trait is not Trait.EXTRACTABLE), bytes(60),
)  # fmt: skip


def test_a_well_kept_object_is_warned_of_for_its_company_alone() -> None:
    assert WELL_KEPT.confined
    assert [text[:6] for text in WELL_KEPT.warnings()] == ["others"]


@pytest.mark.parametrize("trait", [trait for trait in Trait if trait is not Trait.ALWAYS_SENSITIVE])
def test_every_trait_that_is_otherwise_is_warned_of(trait: Trait) -> None:
    traits = set(WELL_KEPT.traits) ^ {trait}

    otherwise = dataclasses.replace(WELL_KEPT, traits=tuple(traits))

    assert len(otherwise.warnings()) == 2
    assert otherwise.confined is (trait not in {Trait.SENSITIVE, Trait.EXTRACTABLE})


def test_a_record_tells_what_was_found() -> None:
    record = dataclasses.replace(
        sample(VersionRecord), object_id="c0de", object_label="theirs", object_class="SECRET_KEY",
        length=32, uses="ENCRYPT,DECRYPT", traits=",".join(WELL_KEPT.traits), check_value=bytes(60),
    )  # fmt: skip

    assert described(record) == WELL_KEPT
    assert described(record).spec == "AES_256"


@pytest.mark.parametrize("usage", KeyUsage)
def test_only_an_adopted_version_may_lack_a_use(usage: KeyUsage) -> None:
    record = dataclasses.replace(sample(VersionRecord), uses="")

    assert uses_of(record, CustodyMode.ADOPTED, usage) == frozenset()
    assert uses_of(record, CustodyMode.WRAPPED, usage)
    assert uses_of(record, CustodyMode.RESIDENT, usage) == uses_of(record, CustodyMode.WRAPPED, usage)


def test_policies_know_every_origin_by_the_name_that_aws_has_for_it() -> None:
    assert circumstances.ORIGINS == {
        Origin.HSM: "AWS_KMS",
        Origin.EXTERNAL: "EXTERNAL",
        Origin.EXTERNAL_KEY_STORE: "EXTERNAL_KEY_STORE",
    }
