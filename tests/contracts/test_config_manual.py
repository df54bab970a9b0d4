"""The commented configuration names every setting with its true default, and is itself valid."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from strongroomd.config import load
from strongroomd.config.sections import SECTIONS, TokenSection

MANUAL = Path(__file__).parents[2] / "ops" / "config" / "strongroomd.toml"
ALTERNATIVES = ("pin_credential", "pin_fd")  # of pin_file
EXAMPLES = (
    "softhsm_conf",
    "recovery_public_key",
    "path",
    "directory",
    "recipients_file",
    "sinks",
    "tokens",
    "plain_context_keys",
    "rules",
)  # shown by example; unset by default


UNSET: dict[str, set[str]] = {
    "xks": {"address", "certificate_file", "key_file", "client_ca_file", "client_names"}
}  # likewise, in one section


def uncommented() -> dict[str, Any]:
    text = "\n".join(
        re.sub(r"^#(?=[a-z_0-9]+ = |\[\[)", "", line)
        for line in MANUAL.read_text().splitlines()
        if not line.startswith(tuple(f"#{name} " for name in ALTERNATIVES))
    )
    return tomllib.loads(text)


def test_the_manual_is_a_valid_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    load(MANUAL, check_files=False)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_manual_names_every_setting_of_a_section_and_no_other(section: str) -> None:
    shown = set(uncommented()[section]) | (set(ALTERNATIVES) if section == "hsm" else set())

    assert shown == set(SECTIONS[section].model_fields)


def test_the_manual_names_every_setting_of_a_further_token_and_no_other() -> None:
    (shown,) = uncommented()["hsm"]["tokens"]

    assert {*shown, *ALTERNATIVES} == set(TokenSection.model_fields)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_defaults_that_the_manual_shows_are_the_true_ones(section: str) -> None:
    required = tomllib.loads(MANUAL.read_text())[section]
    shown = {
        name: value
        for name, value in uncommented()[section].items()
        if name not in {*EXAMPLES, *required, *UNSET.get(section, ())}
    }
    model = SECTIONS[section]
    read = model.model_validate({**required, **shown}, context={"base": MANUAL.parent})

    assert shown or section in {"store", "access", "backup"}
    for name in shown:
        assert getattr(read, name) == model.model_fields[name].default, name


def test_only_settings_without_a_default_are_written_out() -> None:
    written = tomllib.loads(MANUAL.read_text())

    for section, model in SECTIONS.items():
        for name in set(written[section]) - {"token_label", "pin_file", "administrators"}:
            assert model.model_fields[name].is_required(), name
