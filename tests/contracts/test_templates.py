"""Templates: the golden table, what the token says of real objects, and values that must never reach the library."""

import json
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pkcs11.constants import Attribute
from tests.hsmkeys import OpenedVault, make, of_role, soon

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, Scheme, schemes
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm import handles
from strongroomd.hsm.packing import MAPPER, MAX_VALUE, pack, pack_value
from strongroomd.hsm.templates import (
    ARRIVING_PAIR,
    DECRYPTS_RAW,
    HOUSE_DUTIES,
    UNWRAP_TEMPLATES,
    UNWRAPS_OAEP,
    House,
    Life,
    duty_of,
    house_template,
    template,
)

GOLDEN = Path(__file__).with_name("golden_templates.json")
STORED = (Life.BORN, Life.SEALED, Life.EXPORTABLE, Life.LEAVING, Life.RESIDENT)


def plain(attributes: dict) -> dict:
    """A template with names for numbers, as the golden file has it."""
    return {
        Attribute(name).name: list(value)
        if isinstance(value, tuple)
        else plain(value)
        if isinstance(value, dict)
        else value
        for name, value in attributes.items()
        if name not in (Attribute.ID, Attribute.LABEL)
    }


def tables() -> dict:
    """Every template of the room."""
    keys = {
        "/".join((spec, usage, *([] if scheme is Scheme.DEFAULT else [scheme]), life)): plain(
            template(facts.family, life, duty_of(spec, usage, scheme))
        )
        for spec, facts in SPECS.items()
        for usage in facts.usages
        for scheme in schemes(spec)
        for life in STORED
    }
    imports = {
        f"import/{name}/{life}": plain(template(family, life, duty))
        for name, family, duty, lives in (
            ("unwraps OAEP", KeyFamily.RSA, UNWRAPS_OAEP, (Life.BORN, Life.SEALED)),
            ("decrypts raw", KeyFamily.RSA, DECRYPTS_RAW, (Life.BORN, Life.SEALED)),
            ("arriving pair", KeyFamily.EC, ARRIVING_PAIR, (Life.BORN,)),
        )
        for life in lives
    }
    return keys | imports | {f"house/{role}": plain(house_template(role, bytes(16))) for role in House}


def test_templates_are_those_of_the_golden_table() -> None:
    """A change here changes what keys may do: review it, then write the file anew from `tables()`."""
    assert tables() == json.loads(GOLDEN.read_text())


def test_every_customer_key_is_private_sensitive_and_fixed() -> None:
    for name, attributes in tables().items():
        assert attributes["PRIVATE"], name
        assert attributes["SENSITIVE"], name
        assert not attributes["MODIFIABLE"], name
        assert not attributes["COPYABLE"], name
        assert attributes["ALLOWED_MECHANISMS"], name
        assert attributes["TOKEN"] == ("RESIDENT" in name.upper() or "house" in name), name


def test_only_keys_that_may_leave_are_extractable() -> None:
    for name, attributes in tables().items():
        assert attributes["EXTRACTABLE"] == name.endswith(("/born", "/exportable", "/leaving")), name


def test_sealed_kek_forces_what_makes_a_key_stay() -> None:
    assert plain(UNWRAP_TEMPLATES[House.KEK_SEALED]) == {
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "TOKEN": False,
        "PRIVATE": True,
    }
    assert plain(UNWRAP_TEMPLATES[House.KEK_EXPORTABLE]) == {
        "SENSITIVE": True,
        "EXTRACTABLE": True,
        "TOKEN": False,
        "PRIVATE": True,
    }
    assert set(HOUSE_DUTIES) == set(House)


@pytest.mark.softhsm
@pytest.mark.parametrize("spec", [s for s in KeySpec if s not in ("RSA_3072", "RSA_4096")])
async def test_token_reports_the_golden_attributes_of_real_keys(opened: OpenedVault, spec: KeySpec) -> None:
    golden = json.loads(GOLDEN.read_text())
    for usage in SPECS[spec].usages:
        if spec is not KeySpec.ECC_NIST_EDWARDS25519:
            for exportable in (False, True):
                key = await make(opened.vault, spec, usage, exportable=exportable)
                loaded = await opened.vault._held.load(key, soon())
                life = Life.EXPORTABLE if exportable else Life.SEALED
                assert read_back(loaded.held, golden[f"{spec}/{usage}/{life}"]) == []
        key = await make(opened.vault, spec, usage, CustodyMode.RESIDENT)
        loaded = await opened.vault._held.load(key, soon())
        assert read_back(loaded.held, golden[f"{spec}/{usage}/{Life.RESIDENT}"]) == []


@pytest.mark.softhsm
@pytest.mark.parametrize("role", list(House))
async def test_token_reports_the_golden_attributes_of_house_keys(opened: OpenedVault, role: House) -> None:
    golden = json.loads(GOLDEN.read_text())[f"house/{role}"]
    golden.pop("UNWRAP_TEMPLATE", None)
    record = await of_role(opened, role)
    with opened.vault._parts.pool.fresh() as session:
        (key,) = handles.find(session, pack({Attribute.ID: bytes.fromhex(record.hsm_id)}))
        assert read_back(key, golden) == []


def read_back(held: Any, golden: dict) -> list[str]:
    """Read each attribute on its own and name those that differ."""
    different = []
    for name, expected in golden.items():
        value = tuple(expected) if isinstance(expected, list) else expected
        raw = held[Attribute[name]]
        if isinstance(raw, int):
            raw = pack_value(Attribute.CLASS, int(raw)) if not isinstance(raw, bool) else bytes([raw])
        if raw != pack_value(Attribute[name], value):
            different.append(name)
    return different


BAD = [
    (Attribute.LABEL, "\ud800"),
    (Attribute.LABEL, b"bytes"),
    (Attribute.LABEL, 7),
    (Attribute.LABEL, None),
    (Attribute.ID, "text"),
    (Attribute.ID, None),
    (Attribute.ID, bytes(MAX_VALUE + 1)),
    (Attribute.TOKEN, 1),
    (Attribute.TOKEN, "true"),
    (Attribute.TOKEN, None),
    (Attribute.CLASS, True),
    (Attribute.CLASS, -1),
    (Attribute.CLASS, 1 << 64),
    (Attribute.CLASS, 1.5),
    (Attribute.VALUE_LEN, "32"),
    (Attribute.ALLOWED_MECHANISMS, [1]),
    (Attribute.ALLOWED_MECHANISMS, (1, "x")),
    (Attribute.ALLOWED_MECHANISMS, (None, 1)),
    (Attribute.UNWRAP_TEMPLATE, ((Attribute.TOKEN, True),)),
    (Attribute.UNWRAP_TEMPLATE, {Attribute.TOKEN: 1}),
    (Attribute.UNWRAP_TEMPLATE, {"TOKEN": True}),
    (Attribute.WRAP_TEMPLATE, {}),
    (Attribute.START_DATE, "2026-01-01"),
    (0x80000001, b"vendor"),
    ("LABEL", "text"),
    (None, None),
]


@pytest.mark.parametrize(("attribute", "value"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_value_that_cannot_be_packed_is_a_typed_error_naming_the_attribute(
    attribute: Any, value: Any
) -> None:
    with pytest.raises(StrongroomError) as refusal:
        pack({attribute: value})

    assert refusal.value.reason is Reason.INVALID_FIELD
    assert (refusal.value.field or "").startswith("hsm.template")


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=64),
    st.text(st.characters(codec=None), max_size=16),
    st.lists(st.integers(), max_size=3),
    st.tuples(st.integers(), st.text()),
    st.dictionaries(st.sampled_from(list(Attribute)), st.booleans(), max_size=2),
)
attributes = st.one_of(
    st.sampled_from(list(Attribute)), st.integers(0, 1 << 40), st.text(max_size=8), st.none()
)


@given(st.dictionaries(attributes, values, max_size=6))
def test_packing_anything_gives_bytes_or_a_typed_error(mapping: Any) -> None:
    reason = Reason.INVALID_FIELD
    packed = {}
    try:
        packed = pack(mapping)
    except StrongroomError as error:
        reason = error.reason

    assert reason is Reason.INVALID_FIELD
    assert all(type(value) is bytes for value in packed.values())


@pytest.mark.softhsm
@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(list(Attribute)), values, max_size=5))
def test_no_template_kills_the_process(opened: OpenedVault, mapping: Any) -> None:
    """Whatever packs may go to the token, which may refuse it; the process lives."""
    try:
        packed = pack(
            {k: v for k, v in mapping.items() if k is not Attribute.TOKEN} | {Attribute.TOKEN: False}
        )
    except StrongroomError:
        return
    with opened.vault._parts.pool.fresh() as session:
        for call in (
            lambda: session.create_object(packed).destroy(),
            lambda: handles.find(session, packed),
            lambda: session.generate_key(
                pkcs11.KeyType.AES,
                256,
                capabilities=0,
                mechanism=pkcs11.Mechanism.AES_KEY_GEN,
                template=packed,
            ).destroy(),
        ):
            try:
                call()
            except (pkcs11.PKCS11Error, StrongroomError, ValueError):
                continue


@pytest.mark.parametrize("value", ["\ud800", None, 7, b"\xff", object()])
def test_mapper_takes_nothing_but_packed_bytes_and_the_librarys_own_values(value: Any) -> None:
    if isinstance(value, bytes):
        assert MAPPER.pack_attribute(Attribute.LABEL, value) == value
    else:
        with pytest.raises(StrongroomError):
            MAPPER.pack_attribute(Attribute.ID, value)
