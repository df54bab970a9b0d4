"""From a file's bytes to settings, collecting every mistake on the way."""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from strongroomd.config.checks import conflicts, section_file_mistakes
from strongroomd.config.mistakes import ConfigurationErrors, Mistake
from strongroomd.config.sections import SECTIONS, Identity, Section, Settings

MAX_FILE: Final = 1 << 20  # bytes of configuration; a real one has a few thousand
_MESSAGES: Final[dict[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a known setting",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "string_pattern_mismatch": "is not in the documented form",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "model_type": "must be a table",
    "dict_type": "must be a table",
}


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Tell one state of a file from the next (modification time, inode, size); None while it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def read(path: Path) -> bytes:
    """Read a configuration file, at most 1 MiB.

    Raises:
        ConfigurationErrors: it cannot be read, is too large, or everybody may write to it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise ConfigurationErrors(path, [Mistake("file", f"cannot be read: {reason}")]) from error
    if len(data) > MAX_FILE:
        raise ConfigurationErrors(path, [Mistake("file", f"must be at most {MAX_FILE} bytes")])
    if mode & stat.S_IWOTH:
        raise ConfigurationErrors(path, [Mistake("file", "must not be writable by everybody (chmod o-w)")])
    return data


def load(path: Path, data: bytes | None = None, *, check_files: bool = True) -> Settings:
    """Turn a configuration file into settings.

    Args:
        path: the file; relative paths in it start at its folder.
        data: its content, if it was read before.
        check_files: also look at the files that it names: present, and secrets not readable by others.

    Raises:
        ConfigurationErrors: holding every mistake, not only the first.
    """
    path = path.absolute()
    tables = _parse(path, read(path) if data is None else data)
    mistakes: list[Mistake] = []
    sections = _validate(tables, path.parent, mistakes)
    identities = _identities(tables.get("identities", []), mistakes)
    mistakes.extend(_unknown(tables))
    mistakes.extend(conflicts(sections, identities))
    if check_files:
        mistakes.extend(section_file_mistakes(sections))
    if mistakes:
        raise ConfigurationErrors(path, mistakes)
    return Settings(source=path, identities=tuple(identities), **sections)  # type: ignore[arg-type]


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationErrors(path, [Mistake(f"line {line}", "is not UTF-8 text")]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationErrors(path, [_syntax(str(error))]) from None


def _syntax(message: str) -> Mistake:
    """Keep the position of a TOML error and drop its wording, which may quote the file."""
    position = re.search(r"at line (\d+), column (\d+)", message)
    place = f"line {position[1]}, column {position[2]}" if position else "end of file"
    twice = ("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot mutate")
    return Mistake(
        place, "names a setting or table twice" if message.startswith(twice) else "is not valid TOML"
    )


def _validate(tables: Mapping[str, Any], base: Path, mistakes: list[Mistake]) -> dict[str, Section]:
    sections: dict[str, Section] = {}
    for name, model in SECTIONS.items():
        try:
            sections[name] = model.model_validate(tables.get(name, {}), context={"base": base})
        except ValidationError as error:
            mistakes.extend(_mistake(f"[{name}]", name, detail) for detail in _details(error))
    return sections


def _identities(entries: object, mistakes: list[Mistake]) -> list[Identity]:
    if not isinstance(entries, list):
        mistakes.append(Mistake("[[identities]]", "must be a list of tables"))
        return []
    identities: list[Identity] = []
    for number, entry in enumerate(entries, start=1):
        place = f"[[identities]] #{number}"
        try:
            identities.append(identity := Identity.model_validate(entry))
            mistakes.extend(_matcher_mistakes(place, identity))
        except ValidationError as error:
            mistakes.extend(_mistake(place, "", detail) for detail in _details(error))
    mistakes.extend(_repeated(identities))
    return identities


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _mistake(place: str, name: str, detail: ErrorDetails) -> Mistake:
    """Spell pydantic's finding as `[hsm] pin_file: rule`, with sub-tables as `[quota.rsa] burst`."""
    keys = [_shown(key) for key in detail["loc"]]
    if len(keys) > 1 and name and isinstance(detail["loc"][1], str):
        place, keys = f"[{name}.{keys[0]}]", keys[1:]
    rule = _MESSAGES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").replace(
        "Input should", "must"
    )
    return Mistake(" ".join([place, ".".join(keys)]) if keys else place, rule[:1].lower() + rule[1:])


def _shown(key: int | str) -> str:
    """Show a key of the file if it looks like a setting's name, else only that it does not."""
    if isinstance(key, int):
        return f"#{key + 1}"
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else "(an unprintable name)"


def _unknown(tables: Mapping[str, Any]) -> Iterator[Mistake]:
    for key in tables.keys() - SECTIONS.keys() - {"identities"}:
        yield Mistake(f"[{_shown(key)}]", "is not a known section")


def _matcher_mistakes(place: str, identity: Identity) -> Iterator[Mistake]:
    if (identity.subject is None) != (identity.issuer_spki_sha256 is None):
        yield Mistake(place, "needs subject and issuer_spki_sha256 together")
    elif (identity.uri is None) == (identity.subject is None):
        yield Mistake(place, "needs exactly one of uri and subject")


def _repeated(identities: Sequence[Identity]) -> Iterator[Mistake]:
    """Two principals for one certificate would leave to chance which of them it speaks for."""
    seen: set[tuple[str | None, ...]] = set()
    for number, identity in enumerate(identities, start=1):
        matcher = (identity.uri, identity.subject, identity.issuer_spki_sha256)
        if matcher in seen:
            yield Mistake(f"[[identities]] #{number}", "repeats the certificate of an earlier entry")
        seen.add(matcher)
