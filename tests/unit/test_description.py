"""What a token says of itself is shown to callers: nothing but short, printable ASCII."""

from types import SimpleNamespace
from typing import Any

import pytest

from strongroomd.hsm.description import describe


def said(**of: Any) -> str:
    token = {"manufacturer_id": b"Maker", "model": b"Model 1", "firmware_version": (2, 6)}
    library = SimpleNamespace(library_version=(3, 10))
    return describe(library, SimpleNamespace(**{**token, **of}))


def test_maker_model_firmware_and_library_are_named() -> None:
    assert said() == "Maker Model 1 2.6 (library 3.10)"


@pytest.mark.parametrize(
    "text", [b"  Model 1\x00 \r\n", "\x1b[31mModel 1\u202e\u00e9", b"\xff\xfeModel 1\x7f"]
)
def test_control_characters_and_other_alphabets_are_left_out(text: bytes | str) -> None:
    words = said(model=text)

    assert words.isascii()
    assert words.isprintable()
    assert "Model 1 " in words


def test_it_is_never_too_long_and_an_empty_part_leaves_no_gap() -> None:
    assert len(said(manufacturer_id=b"M" * 32, model=b"x" * 64)) == 64
    assert said(model=b"") == "Maker 2.6 (library 3.10)"
