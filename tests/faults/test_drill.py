"""The drill in its short form: 60 keys of every spec, lost twice and restored both ways. `scripts/drill` has the long one."""

from pathlib import Path

import pytest
from tests.drill import Drill, plan

from strongroomd.domain.algorithms import SPECS

pytestmark = [pytest.mark.daemon, pytest.mark.slow]


@pytest.mark.timeout(900)
def test_keys_of_every_spec_come_back_on_the_tokens_copy_and_in_another_token(tmp_path: Path) -> None:
    said: list[str] = []

    specs = plan(60, rsa=1, others=2)

    assert set(specs) == set(SPECS)
    assert len(specs) == 60
    assert Drill(tmp_path, said.append).run(specs), "\n".join(said)
