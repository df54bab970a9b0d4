"""The taxonomy is closed, and every table over it is total: texts, gRPC, the documents, the client."""

import re
from pathlib import Path

import grpc
import pytest

from strongroom import errors as client
from strongroom.v1 import crypto_pb2, types_pb2
from strongroomd.domain.errors import MESSAGES, Fault, Reason, StrongroomError, fault_of, invalid, too_large
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.status import CODES, wire_status

README = (Path(__file__).resolve().parents[3] / "protos" / "README.md").read_text()
ROWS = re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \| (.+?) \| (.+?) \|$", README, re.MULTILINE)


def test_every_reason_has_a_text_and_a_status() -> None:
    assert set(MESSAGES) == set(CODES) == set(Reason)
    assert all(reason.name == reason.value for reason in Reason)


def test_the_document_lists_exactly_the_reasons_with_their_statuses() -> None:
    assert {name: code for name, code, _, _ in ROWS} == {r.value: CODES[r].name for r in Reason}


def test_the_document_names_who_acts() -> None:
    who = {Fault.CALLER: "caller", Fault.OPERATOR: "operator", Fault.DAEMON: "the authors"}

    assert {name: actor for name, _, _, actor in ROWS} == {r.value: who[fault_of(r)] for r in Reason}


def test_the_client_knows_exactly_the_reasons() -> None:
    assert set(client.KNOWN_REASONS) - set(client.CLIENT_REASONS) == {reason.value for reason in Reason}


def test_no_reason_becomes_a_status_that_grpc_itself_uses_for_bugs() -> None:
    assert grpc.StatusCode.UNKNOWN not in CODES.values()
    internal = {reason for reason, code in CODES.items() if code is grpc.StatusCode.INTERNAL}
    assert internal == {Reason.INTERNAL, Reason.CONFIGURATION}


@pytest.mark.parametrize("reason", list(Reason))
def test_private_detail_never_leaves(reason: Reason) -> None:
    error = StrongroomError(reason, field="place", retry_after=1.5, detail="canary-detail")
    status = wire_status(error, "id-1")

    assert "canary" not in str(error)
    assert "canary" not in repr(status.trailing_metadata) + status.details


def test_helpers_name_field_and_limit() -> None:
    assert (invalid("a.b", "rule").field, too_large("a.b", 7, "pairs").message) == (
        "a.b",
        "at most 7 pairs are allowed",
    )


@pytest.mark.parametrize(
    ("kind", "wire", "prefix"), convert._ENUMS, ids=lambda value: getattr(value, "__name__", "")
)
def test_enums_of_the_wire_and_of_the_domain_are_the_same(kind: type, wire: object, prefix: str) -> None:
    on_the_wire = {name.removeprefix(prefix) for name in wire.DESCRIPTOR.values_by_name}  # type: ignore[attr-defined]

    assert on_the_wire - {"UNSPECIFIED"} == {m.name for m in kind if m not in convert._NOT_ON_THE_WIRE}  # type: ignore[attr-defined]


def test_every_enum_of_the_wire_is_converted_somewhere() -> None:
    converted = {wire.DESCRIPTOR.name for _, wire, _ in convert._ENUMS} | {"DataKeySpec", "DataKeyPairSpec"}
    known = {name for module in (types_pb2, crypto_pb2) for name in module.DESCRIPTOR.enum_types_by_name}

    assert known <= converted
    assert len(convert.PAIR_SPECS) == len(crypto_pb2.DataKeyPairSpec.keys()) - 1
    assert len(convert.DATA_KEY_BYTES) == len(crypto_pb2.DataKeySpec.keys()) - 1
