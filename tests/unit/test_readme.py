"""The documents keep step with the code: links lead somewhere, the lifecycle is drawn as it is."""

import re
from pathlib import Path

import pytest

from strongroomd.domain.lifecycle import ALLOWED, Act
from strongroomd.domain.records import KeyState

ROOT = Path(__file__).resolve().parents[2]
MAP = (ROOT / "daemon" / "README.md").read_text()
DOCUMENTS = sorted(
    path
    for folder in (".", "daemon", "daemon/adr", "ops", "protos")
    for path in (ROOT / folder).glob("*.md" if folder in {".", "daemon", "daemon/adr"} else "**/*.md")
)
OTHER_CHANGES = {
    "create, wrapped",
    "create, resident",
    "the token object is proved",
    "abandoned",
    "the day comes",
    "create, external",
    "its material is there",
    "its material goes",
    "switch, material away",
}


def arrows() -> set[tuple[str, str, str]]:
    """From, to and label of each arrow of the state diagram."""
    diagram = MAP.partition("stateDiagram-v2\n")[2].partition("```")[0]
    return set(re.findall(r"^ +(\S+) --> (\S+): (.+)$", diagram, re.MULTILINE))


def table() -> dict[str, set[str]]:
    """Act -> states that the table says allow it."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in MAP.partition("| act |")[2].splitlines()
        if line.startswith("|") and "---" not in line
    ]
    head = [cell.strip() for cell in re.search(r"^\| act \|(.+)\|$", MAP, re.MULTILINE)[1].split("|")]  # type: ignore[index]
    acts = {act.value for act in Act}
    return {
        row[0]: {state for state, cell in zip(head, row[1:], strict=True) if cell == "yes"}
        for row in rows
        if row[0] in acts
    }


def test_the_table_of_states_is_the_codes() -> None:
    assert table() == {act.value: {state.value for state in states} for act, states in ALLOWED.items()}


@pytest.mark.parametrize("act", [Act.SWITCH, Act.SCHEDULE_DELETION, Act.CANCEL_DELETION])
def test_an_acts_arrows_leave_the_states_that_allow_it(act: Act) -> None:
    drawn = {source for source, _, label in arrows() if label == act.value}

    assert drawn == {state.value for state in ALLOWED[act]}


def test_every_state_and_no_other_is_drawn() -> None:
    drawn = {name for source, target, _ in arrows() for name in (source, target)} - {"[*]"}
    labels = {label for _, _, label in arrows()}

    assert drawn == {state.value for state in KeyState}
    assert labels == OTHER_CHANGES | {"switch", "schedule_deletion", "cancel_deletion"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_sequence_diagrams_have_no_semicolons(path: Path) -> None:
    """Mermaid would take what follows one for a new statement."""
    for diagram in re.findall(r"```mermaid\nsequenceDiagram(.*?)```", path.read_text(), re.DOTALL):
        assert ";" not in diagram


def test_the_threat_model_names_tests_that_exist() -> None:
    text = (ROOT / "ops" / "security" / "threat-model.md").read_text()
    cells = [line.rstrip("| ").rpartition("|")[2] for line in text.splitlines() if "`test" in line]
    assert len(cells) > 8
    for cell in cells:
        folder = Path()
        for name in re.findall(r"`((?:tests/)?[\w/]*(?:test_\w+\.py|/))`", cell):
            folder = Path(name).parent if name.startswith("tests/") else folder
            place = ROOT / name if name.startswith("tests/") else ROOT / folder / name
            assert place.exists(), name


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    index = (ROOT / "daemon" / "adr" / "README.md").read_text()
    decisions = sorted((ROOT / "daemon" / "adr").glob("[0-9]*.md"))

    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text()
        assert f"({path.name})" in index
        assert text.startswith(f"# {path.name[:4]}. ")
        for part in ("**Context.**", "**Options.**", "**Decision.**", "**Consequences.**"):
            assert part in text, (path.name, part)
