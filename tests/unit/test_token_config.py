"""[[hsm.tokens]]: what an entry leaves out is the main token's, and every mistake is told with its place."""

from pathlib import Path

import pytest
from tests.unit.test_config import GOOD, mistakes, settings
from tests.unit.test_config import folder as _folder

from strongroomd.config import token_names, token_plans
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.tokens import MAIN, TokenNames

folder = _folder
ENTRY = """
[[hsm.tokens]]
name = "{name}"
token_label = "{name}"
pin_file = "pin"
"""
MODULE = next(line for line in GOOD.splitlines() if line.startswith("module"))
HSM = next(line for line in GOOD.splitlines() if line.startswith("[hsm]"))


def with_tokens(*entries: str, hsm: str = "") -> str:
    """A good file whose [hsm] has these further settings and tokens."""
    return GOOD.replace(HSM, f"{HSM}\n{hsm}") + "".join(entries)


def entry(name: str = "second", **settings: str | int) -> str:
    """An entry that is good but for what is said."""
    values: dict[str, str | int] = {"name": name, "token_label": name, "pin_file": "pin", **settings}
    lines = [f"{key} = {value!r}" for key, value in values.items() if value != ""]
    return "\n[[hsm.tokens]]\n" + "\n".join(lines) + "\n"


def test_one_token_is_planned_from_the_section_itself(folder: Path) -> None:
    (main,) = token_plans(settings(folder))

    assert (main.name, main.token_label, main.state) == (MAIN, "strongroom", folder / "state" / "token")


def test_an_entry_takes_what_it_leaves_out_from_the_main_token(folder: Path) -> None:
    hsm = "softhsm_conf = 'pin'\nrecovery_public_key = 'ca.pem'\nsymmetric = 'xaes'"
    main, second = token_plans(settings(folder, with_tokens(entry(), hsm=hsm)))

    for name in ("module", "softhsm_conf", "recovery_public_key", "symmetric"):
        assert getattr(second, name) == getattr(main, name), name
    assert (second.name, second.token_label, second.pin_file) == ("second", "second", folder / "pin")


def test_tokens_of_one_module_share_the_lock_and_those_of_another_do_not_wait_for_it(folder: Path) -> None:
    other = {"module": "ca.pem"}
    text = with_tokens(entry("same"), entry("a", **other), entry("b", **other), hsm="softhsm_conf = 'pin'")
    main, same, first, second = token_plans(settings(folder, text))

    assert main.state == same.state
    assert first.state == second.state == folder / "state" / "token-a"
    assert (same.softhsm_conf, first.softhsm_conf) == (folder / "pin", None)


def test_two_spellings_of_a_modules_path_are_one_module(folder: Path) -> None:
    (folder / "spelt.so").symlink_to(folder / "ca.pem")
    (folder / "main.so").symlink_to(folder / "module.so")
    text = with_tokens(entry("a", module="ca.pem"), entry("b", module="spelt.so"))
    text = text.replace(MODULE, 'module = "main.so"')

    main, first, second = token_plans(settings(folder, text))

    assert first.state == second.state
    assert main.state == folder / "state" / "token"


@pytest.mark.parametrize(
    ("entries", "place"),
    [
        ([entry("Second")], "[hsm] tokens.#1.name"),
        ([entry("a" * 33)], "[hsm] tokens.#1.name"),
        ([entry(name="")], "[hsm] tokens.#1.name"),
        ([entry("main")], "[hsm] tokens.#1.name"),
        ([entry("a"), entry("b"), entry("a", token_label="c")], "[hsm] tokens.#1.name"),
        ([entry(pin_file="")], "[hsm] tokens.#1: needs exactly one of pin_file"),
        ([entry(pin_fd=5)], "[hsm] tokens.#1: needs exactly one of pin_file"),
        ([entry(token_label="")], "[hsm] tokens.#1: needs token_label or token_serial"),
        ([entry(token_label="strongroom")], "[hsm] tokens.#1: must differ from every other token"),
        ([entry(token_label="", token_serial="1")], "[hsm] tokens.#1: must differ from every other token"),
        ([entry("a", token_label="c"), entry("b", token_label="c")], "[hsm] tokens.#2: must differ"),
        ([entry("a", pin_file="", pin_fd=5), entry("b", pin_file="", pin_fd=5)], "[hsm] tokens.#2.pin_fd"),
        ([entry(softhsm_conf="pin")], "[hsm] tokens.#1.softhsm_conf"),
        ([entry(pin_file="absent")], "[hsm] tokens.#1.pin_file: cannot be read"),
        ([entry(module="absent")], "[hsm] tokens.#1.module: cannot be read"),
        ([entry(color="red")], "[hsm] tokens.#1.color: is not a known setting"),
        ([entry(f"t{number}") for number in range(16)], "[hsm] tokens"),
    ],
)
def test_a_mistake_in_an_entry_is_told_with_its_place(folder: Path, entries: list[str], place: str) -> None:
    assert mistakes(folder, with_tokens(*entries))[0].startswith(place)


def test_a_descriptor_of_the_main_token_is_not_read_for_another(folder: Path) -> None:
    text = with_tokens(entry(pin_file="", pin_fd=5)).replace('pin_file = "pin"', "pin_fd = 5")

    assert mistakes(folder, text)[0].startswith("[hsm] tokens.#1.pin_fd")


def test_all_mistakes_of_all_entries_are_told_at_once(folder: Path) -> None:
    text = with_tokens(entry("a", pin_file=""), entry("b", token_label=""), hsm="default_token = 'c'")

    found = mistakes(folder, text)

    for place in ("[hsm] tokens.#1:", "[hsm] tokens.#2:", "[hsm] default_token"):
        assert any(mistake.startswith(place) for mistake in found), place


def test_a_pin_file_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / "loose").write_bytes(b"x")
    (folder / "loose").chmod(0o644)

    assert mistakes(folder, with_tokens(entry(pin_file="loose")))[0].startswith("[hsm] tokens.#1.pin_file")


@pytest.mark.parametrize(
    ("default", "wanted", "token"),
    [
        ("main", "", MAIN),
        ("main", "main", MAIN),
        ("main", "second", "second"),
        ("second", "", "second"),
        ("second", "main", MAIN),
    ],
)
def test_a_new_key_goes_where_its_maker_or_else_the_configuration_says(
    folder: Path, default: str, wanted: str, token: str
) -> None:
    names = token_names(settings(folder, with_tokens(entry(), hsm=f'default_token = "{default}"')))

    assert names.settle(wanted) == token


@pytest.mark.parametrize("wanted", ["third", "Second", "second ", "*", "x" * 10_000])
def test_a_name_that_no_token_has_is_refused_at_its_field_without_being_repeated(wanted: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        TokenNames(frozenset({"second"})).settle(wanted)

    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "token")
    assert wanted not in str(caught.value)
