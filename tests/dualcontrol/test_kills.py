"""Kill -9 at every step of an export: nothing acknowledged is lost, nothing leaves twice."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from tests.dualcontrol.test_guarded import bring
from tests.failpoints import dying_at, steps
from tests.harness import refused
from tests.people import Cast

from strongroom import results
from strongroom.errors import StrongroomError

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

ASKING = ("export.1", "export.2")
CARRYING_OUT = ("export.3", "export.4", "export.5", "export.6", "export.7")
SPENT = ("export.8",)
NEVER = {"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


def test_every_step_is_tried() -> None:
    assert steps("export") == [*ASKING, *CARRYING_OUT, *SPENT]


@pytest.mark.parametrize("step", ASKING)
def test_a_request_is_made_or_not_and_the_repeated_call_makes_one(
    house: Cast, spki: bytes, step: str
) -> None:
    key = house.key()
    wanted = {"public_key": spki, "purpose": "x", "request_id": f"kill-{step}"}
    with dying_at(house.daemon, step), suppress(StrongroomError):
        house.alice.client.request_export(key, **wanted)  # type: ignore[arg-type]

    asked = house.alice.client.request_export(key, **wanted)  # type: ignore[arg-type]

    found = house.bob.client.list_approvals(key=key).items
    assert [each.approval_id for each in found] == [asked.approval_id]


@pytest.mark.parametrize("step", CARRYING_OUT)
def test_before_it_is_spent_a_request_can_be_carried_out_after_the_kill_once(
    house: Cast, spki: bytes, step: str
) -> None:
    request = house.approved(house.key(), spki)
    before = killed_at(house, request, step)
    assert before == []
    assert house.alice.client.describe_approval(request.approval_id).state == "APPROVED"

    assert house.alice.client.execute_export(request.approval_id).blob

    with refused("APPROVAL_CLOSED"):
        house.alice.client.execute_export(request.approval_id)


@pytest.mark.parametrize("step", SPENT)
def test_once_it_is_spent_nothing_leaves_any_more(house: Cast, spki: bytes, step: str) -> None:
    request = house.approved(house.key(), spki)
    assert killed_at(house, request, step) == []

    # This one is repeated on another connection; an execution never is, and would meet the dead one.
    shown = house.alice.client.describe_approval(request.approval_id)
    with refused("APPROVAL_CLOSED"):
        house.alice.client.execute_export(request.approval_id)
    assert (shown.state, shown.receipt is not None) == ("EXECUTED", True)


def killed_at(house: Cast, request: results.ApprovalRequest, step: str) -> list[results.Export]:
    """Carry a request out with a worker that dies at a step; gives what left."""
    left = []
    with dying_at(house.daemon, step), suppress(StrongroomError):
        left.append(house.alice.client.execute_export(request.approval_id))
    # A reading call is repeated until the connection is there again; an execution is not, and would end in that.
    house.alice.client.describe_approval(request.approval_id)
    return left


DELETING = ("delete-material.1", "delete-material.2", "delete-material.3")
IMPORTING = ("import.1", "import.2", "import.3", "import.4")


def test_every_step_of_what_ends_material_is_tried() -> None:
    assert (steps("delete-material"), steps("import")) == ([*DELETING], [*IMPORTING])


@pytest.mark.parametrize("step", DELETING)
def test_an_approved_deletion_of_material_is_finished_by_the_repeated_call_and_spent_once(
    house: Cast, step: str
) -> None:
    """The SDK repeats it by itself: the request is spent with the material that goes, or not at all."""
    key = house.key(origin="EXTERNAL")
    bring(house, key, **NEVER)
    name = house.agreed(house.admin.ask_material_deletion(key, purpose="x"))

    with dying_at(house.daemon, step):
        done = house.admin.delete_imported_key_material(key, approval_id=name)

    assert done.state == "PENDING_IMPORT"
    assert house.admin.describe_approval(name).state == "EXECUTED"
    bring(house, key, **NEVER)
    with refused("APPROVAL_CLOSED"):
        house.admin.delete_imported_key_material(key, approval_id=name)


@pytest.mark.parametrize("step", IMPORTING)
def test_an_approved_end_of_material_is_finished_by_the_repeated_call_and_spent_once(
    house: Cast, step: str
) -> None:
    key, soon = house.key(origin="EXTERNAL"), datetime.now(UTC) + timedelta(hours=1)
    bring(house, key, **NEVER)
    name = house.agreed(house.admin.ask_material_expiry(key, soon, purpose="x"))

    with dying_at(house.daemon, step):
        bring(house, key, valid_to=soon, approval_id=name)

    (version,) = house.admin.list_key_versions(key).items
    assert version.imported_material is not None
    assert version.imported_material.valid_to is not None
    assert house.admin.describe_approval(name).state == "EXECUTED"
    bring(house, key, **NEVER)
    with refused("APPROVAL_CLOSED"):
        bring(house, key, valid_to=soon, approval_id=name)
