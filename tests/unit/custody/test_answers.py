"""Answers to idempotency keys outlive an upgrade."""

import orjson
from tests.unit.domain.test_events import key

from strongroomd.custody.mutations import decode, encode
from strongroomd.domain.records import KeyRecord
from strongroomd.domain.tokens import MAIN


def test_an_answer_comes_back_as_it_was_given() -> None:
    made = key(token="second")

    assert decode(KeyRecord, encode(made)) == made


def test_an_answer_from_before_a_field_was_there_has_the_fields_default() -> None:
    values = orjson.loads(encode(key(token="second")))
    del values["token"]

    assert decode(KeyRecord, orjson.dumps(values)).token == MAIN
