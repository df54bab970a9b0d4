"""Two thousand forged ciphertexts at the door; `scripts/soak forgeries` sends 50,000."""

import pytest
from tests.harness import Daemon
from tests.kms import Kms
from tests.soak.forgeries import FORGED, flood

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]


def test_a_flood_of_forgeries_trips_nothing_and_honest_calls_go_on(kms: Kms, daemon: Daemon) -> None:
    figures = flood(daemon, kms, 2_000)

    assert figures.failed == []
    assert set(figures.answers) == {FORGED}
    assert set(figures.health) == {"ACTIVE"}
    assert figures.honest == 2 * 20
