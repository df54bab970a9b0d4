"""What a token says of itself, in a form that may be shown to anybody."""

from typing import Any, Final

MOST: Final = 64  # characters


def describe(library: Any, token: Any) -> str:  # noqa: ANN401 - pkcs11.lib and pkcs11.Token
    """Join manufacturer, model and firmware (C_GetTokenInfo), and the library's version (C_GetInfo).

    Nothing but printable ASCII leaves here, at most 64 characters of it, whatever the token says.
    """
    firmware, version = (_numbers(of) for of in (token.firmware_version, library.library_version))
    parts = [*(_plain(of) for of in (token.manufacturer_id, token.model)), firmware, f"(library {version})"]
    return " ".join(part for part in parts if part)[:MOST].rstrip()


def _plain(text: Any) -> str:  # noqa: ANN401 - bytes or str, padded or not
    text = text.decode("ascii", "ignore") if isinstance(text, bytes) else str(text)
    return "".join(c for c in text if " " <= c <= "~").strip()


def _numbers(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
