"""Records stand in a file for each service, and are imported from `strongroom.results`."""

import dataclasses
import pkgutil
from importlib import import_module

from strongroom import results


def records() -> set[str]:
    """The dataclasses that the files of the package define."""
    modules = [
        import_module(found.name) for found in pkgutil.iter_modules(results.__path__, "strongroom.results.")
    ]
    return {
        name
        for module in modules
        for name, value in vars(module).items()
        if dataclasses.is_dataclass(value) and value.__module__ == module.__name__
    }


def test_every_record_is_offered_by_the_package() -> None:
    aliases = {"DecryptResult", "EncryptResult", "SignResult"}

    assert set(results.__all__) == records() | aliases


def test_every_offered_name_is_there() -> None:
    assert [name for name in results.__all__ if not hasattr(results, name)] == []
