"""Fixtures that every kind of test may use: a real SoftHSM in a folder of its own, tokens, and an opened vault."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from tests.hsmkeys import OpenedVault
from tests.softhsm import TokenFactory, make_token_by_tool, make_token_here, write_conf

from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault

# How long an example takes is the machine's affair; nothing is timed in tests.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# What a test of a kind takes, roughly, in seconds.
_SECONDS = {"slow": 20.0, "daemon": 1.0, "softhsm": 0.2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long first: one that is begun last would be waited for by itself."""
    seconds: Counter[Path] = Counter()
    for item in items:
        kinds = [_SECONDS[mark.name] for mark in item.iter_markers() if mark.name in _SECONDS]
        seconds[item.path] += max(kinds, default=0.02)  # type: ignore[assignment]
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SOFTHSM2_CONF that this test process's one copy of SoftHSM uses; several tokens share it."""
    return write_conf(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture(scope="session")
def fresh_token(softhsm: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenFactory:
    """Make empty tokens for use inside this process."""
    return lambda: make_token_here(softhsm, tmp_path_factory.mktemp("state"))


@pytest.fixture
def token_folder(tmp_path: Path) -> TokenFactory:
    """Make empty tokens, each in its own folder with its own SOFTHSM2_CONF, for processes under test."""
    count = iter(range(1_000))
    return lambda: make_token_by_tool(tmp_path / f"hsm{next(count)}")


@pytest.fixture(scope="session")
def opened(fresh_token: TokenFactory) -> Iterator[OpenedVault]:
    """A vault shared by the tests of this process; they use it and do not break it."""
    token = fresh_token()
    house = initialise(token.settings, token.pin)
    vault = open_vault(token.settings, token.pin, house)
    yield OpenedVault(vault, token, house)
    vault.close()


@pytest.fixture
def own(fresh_token: TokenFactory) -> Iterator[OpenedVault]:
    """A vault of the test's own, to be broken."""
    token = fresh_token()
    house = initialise(token.settings, token.pin)
    opened = OpenedVault(open_vault(token.settings, token.pin, house), token, house)
    yield opened
    opened.vault.close()


@pytest.fixture
def vault(opened: OpenedVault) -> TokenVault:
    """The shared vault."""
    return opened.vault
