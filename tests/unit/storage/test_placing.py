"""A restored state is put in place whole or not at all, whenever the process is killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.failpoints import steps
from tests.unit.storage.test_backup_sets import killed_at

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.placing import Move, Placement, finish, is_unfinished, prepared
from strongroomd.telemetry import failpoints

REPORT = {"set": "a"}
STEPS = [step for step in steps("restore") if int(step.partition(".")[2]) > 2]


class Target:
    """A fresh token's directory that is replaced, an audit folder and a store that are not there."""

    def __init__(self, folder: Path) -> None:
        self.state, self.store, self.audit = folder / "state", folder / "state" / "store", folder / "audit"
        self.tokens = folder / "tokens"
        self.state.mkdir(parents=True)
        self.tokens.mkdir()
        (self.tokens / "fresh").touch()
        self.placement = Placement(
            self.state,
            [
                Move(self.tokens, folder / "tokens.fresh", aside=True),
                Move(prepared(self.tokens), self.tokens),
                Move(prepared(self.audit), self.audit),
                Move(prepared(self.store), self.store),
            ],
        )

    def prepare(self) -> None:
        for path in (self.tokens, self.audit):
            prepared(path).mkdir()
            (prepared(path) / "file").write_text("restored")
        prepared(self.store).write_text("restored")

    @property
    def placed(self) -> bool:
        files = (self.tokens / "file", self.audit / "file", self.store)
        return all(path.exists() and path.read_text() == "restored" for path in files)

    @property
    def untouched(self) -> bool:
        return (self.tokens / "fresh").exists() and not self.audit.exists() and not self.store.exists()


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path / "house")


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm(None)


def test_everything_is_in_place_and_nothing_is_left_beside_it(target: Target) -> None:
    target.prepare()

    target.placement.commit(REPORT, {target.state / "key.pem": b"public"})

    assert target.placed
    assert (target.state / "key.pem").read_bytes() == b"public"
    assert not is_unfinished(target.state)
    assert not any(path.name.endswith(".restoring") for path in target.state.parent.rglob("*"))


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_is_finished_or_undone(target: Target, step: str) -> None:
    target.prepare()

    assert killed_at(step, lambda: target.placement.commit(REPORT)) == -signal.SIGKILL

    committed = is_unfinished(target.state)
    assert committed or target.untouched
    assert finish(target.state) == (REPORT if committed else None)
    assert target.placed if committed else target.untouched
    if not committed:
        target.placement.clean()
        target.prepare()
        target.placement.commit(REPORT)
    assert target.placed
    assert finish(target.state) is None, "it is done once"


def test_a_kill_and_another_kill_while_finishing(target: Target) -> None:
    target.prepare()
    (target.state / "key.pem").write_text("of the house before")
    texts = {target.state / "key.pem": b"public"}
    killed_at("restore.5", lambda: target.placement.commit(REPORT, texts))
    killed_at("restore.6", lambda: finish(target.state))

    assert finish(target.state) == REPORT
    assert target.placed
    assert (target.state / "key.pem").read_bytes() == b"public"


@pytest.mark.parametrize("name", ["store", "audit"])
def test_what_is_there_is_not_overwritten(target: Target, name: str) -> None:
    there: Path = getattr(target, name)
    if name == "audit":
        there.mkdir()
        there /= "file"
    there.write_text("living")

    with pytest.raises(StrongroomError) as refusal:
        target.placement.demand_empty()

    assert refusal.value.reason is Reason.CONFIGURATION
    assert there.read_text() == "living"


def test_a_dangling_link_is_something(target: Target) -> None:
    target.store.symlink_to(target.state / "elsewhere")

    with pytest.raises(StrongroomError):
        target.placement.demand_empty()


def test_empty_folders_are_nothing(target: Target) -> None:
    target.audit.mkdir()
    target.prepare()

    target.placement.demand_empty()
    target.placement.commit(REPORT)

    assert target.placed


def test_what_came_to_be_meanwhile_is_not_overwritten_and_the_restored_state_not_lost(target: Target) -> None:
    target.prepare()
    killed_at("restore.5", lambda: target.placement.commit(REPORT))
    target.store.write_text("init made this")

    with pytest.raises(StrongroomError) as refusal:
        finish(target.state)

    assert refusal.value.reason is Reason.STORE_UNAVAILABLE
    assert target.store.read_text() == "init made this"
    target.store.unlink()
    assert finish(target.state) == REPORT
    assert target.placed


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"moves": [["a"]], "report": {}}', b"\xff\x00" * 25]
)
def test_a_damaged_plan_moves_nothing(target: Target, content: bytes) -> None:
    target.prepare()
    (target.state / "restore.plan").write_bytes(content)

    with pytest.raises(StrongroomError) as refusal:
        finish(target.state)

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE
    assert target.untouched


def test_only_what_a_restore_prepared_is_ever_removed(tmp_path: Path) -> None:
    living = tmp_path / "living"
    living.write_text("living")

    with pytest.raises(StrongroomError):
        Placement(tmp_path, [Move(living, tmp_path / "other")]).clean()

    assert living.read_text() == "living"


def test_what_sqlite_left_beside_a_prepared_store_is_removed_with_it(target: Target) -> None:
    target.prepare()
    beside = [
        prepared(target.store).with_name(f"store.restoring-{kind}") for kind in ("wal", "journal", "shm")
    ]
    for path in beside:
        path.write_text("of a store that was given up")

    target.placement.clean()

    assert not any(path.exists() for path in beside)


def test_a_mount_point_is_refused_before_anything_is_prepared(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.audit.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == target.audit)

    with pytest.raises(StrongroomError) as refusal:
        target.placement.demand_empty()

    assert refusal.value.reason is Reason.CONFIGURATION
    assert "mount point" in str(refusal.value.detail)
