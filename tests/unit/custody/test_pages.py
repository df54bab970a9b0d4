"""Sealed page tokens: nothing can be read in one, and none works for another request."""

import base64

import pytest

from strongroomd.custody.pages import SealedTokens
from strongroomd.domain.errors import Reason, StrongroomError

TOKENS = SealedTokens(bytes(range(32)))


def test_a_token_continues_its_own_request_and_shows_nothing() -> None:
    token = TOKENS.encode("place", "List", "arn")

    assert TOKENS.decode(token, "List", "arn") == "place"
    assert b"place" not in base64.urlsafe_b64decode(token + "==")
    assert token != TOKENS.encode("place", "List", "arn")
    assert TOKENS.decode("", "List", "arn") == ""


def test_any_other_token_is_refused() -> None:
    token = TOKENS.encode("place", "List", "arn")
    foreign = SealedTokens(bytes(32)).encode("place", "List", "arn")
    changed = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]

    for text in (changed, token[:-4], foreign, "A", "!", "\u00e4", "AAAA", token + "AAAA"):
        with pytest.raises(StrongroomError) as caught:
            TOKENS.decode(text, "List", "arn")
        assert (caught.value.reason, caught.value.field) == (Reason.INVALID_PAGE_TOKEN, "page_token"), text
    with pytest.raises(StrongroomError):
        TOKENS.decode(token, "List", "another")
