"""What is amiss with a further token's own files keeps its keys away, and no worker from serving."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.test_config import folder as _folder
from tests.unit.test_config import settings
from tests.unit.test_token_config import entry, with_tokens

from strongroomd.config import token_plans
from strongroomd.domain.errors import StrongroomError
from strongroomd.wiring import tokens

folder = _folder


@pytest.mark.parametrize(("content", "right"), [(b"secret", True), (b"abc", False)])
def test_a_pin_by_descriptor_that_is_none_is_refused_when_it_is_asked_for(
    folder: Path, content: bytes, right: bool
) -> None:
    made = settings(folder, with_tokens(entry("second", pin_file="", pin_fd=9)))
    (folder / "by-descriptor").write_bytes(content)
    descriptor = os.open(folder / "by-descriptor", os.O_RDONLY)
    place = cast("Any", SimpleNamespace(token_pin_fds={"second": descriptor}))

    ask = tokens.pin_reader(made, token_plans(made)[1], place)

    for _ in range(2):
        if right:
            assert ask().reveal() == content.decode()
        else:
            with pytest.raises(StrongroomError):
                ask()


def test_a_token_whose_recovery_key_is_none_is_left_out(folder: Path) -> None:
    made = settings(folder, with_tokens(entry("second", recovery_public_key="ca.pem"), entry("third")))

    place = cast("Any", SimpleNamespace(wary=True))
    known = [tokens._known(made, place, plan) for plan in token_plans(made)[1:]]

    assert [token and (token.name, token.wary) for token in known] == [None, ("third", True)]
