"""The house keeps its own rules: pins, metadata, and what may stand at the top of the tree."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "ops" / "requirements"
PROFILES = ("base", "daemon", "dev", "build")

TOP_LEVEL = {
    *("pyproject.toml", "README.md", "LICENSE"),
    *("daemon", "protos", "clients", "tests", "ops", "scripts"),
}

# Written in pieces, so that this file does not find itself.
FOREIGN = (
    re.compile(r"https?://[^\s\"'<>]*(?:/simple\b|files\." + r"pythonhosted)"),
    re.compile(r"--(?:index-url|extra-index-url|find-links)[ =]\S*/|--trusted-" + r"host"),
    re.compile(r"(?<![\w.-])/(?:root|work|home/[a-z]\w*|opt/" + r"wheels)(?:/|\b(?=[\"'\s]))"),
)


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(profile: str) -> dict[str, str]:
    """Name -> exact version, of one file of pins."""
    text = (PINS / f"{profile}.txt").read_text()
    return {
        canonical(name): version
        for name, version in re.findall(r"^([\w.-]+)==([\w.+!-]+)", text, re.MULTILINE)
    }


def project() -> dict[str, Any]:
    """The metadata of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def declared(profile: str) -> list[str]:
    """What pyproject.toml asks for in one profile, as written."""
    metadata = project()
    extras = metadata["optional-dependencies"]
    wanted = {"base": [], "daemon": extras["daemon"], "dev": extras["daemon"] + extras["dev"]}
    return [*metadata["dependencies"], *wanted[profile]]


def tracked_files() -> list[Path]:
    """Every file that git tracks or would take."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.fail("the house rules are checked in a git checkout")
    command = [git, "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout.decode().split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_path_of_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked_files()
        if "vectors" not in path.parts
        for pattern in FOREIGN
        if (match := pattern.search(path.read_text(errors="replace")))
    ]

    assert found == []


@pytest.mark.parametrize("profile", PROFILES)
def test_pins_hold_only_exact_versions_and_hashes(profile: str) -> None:
    text = (PINS / f"{profile}.txt").read_text()

    lines = [line.strip().removesuffix("\\").strip() for line in text.splitlines()]
    strange = [
        line
        for line in lines
        if line
        and not line.startswith("#")
        and not re.fullmatch(r"[\w.-]+==\S+|--hash=sha256:[0-9a-f]{64}", line)
    ]

    assert strange == []


@pytest.mark.parametrize("profile", PROFILES)
def test_every_pin_carries_a_hash(profile: str) -> None:
    text = (PINS / f"{profile}.txt").read_text()

    pins = re.findall(r"^[\w.-]+==.*$", text, re.MULTILINE)
    hashed = re.findall(r"^[\w.-]+==.* \\$(?=\n    --hash=sha256:)", text, re.MULTILINE)

    assert hashed == pins


@pytest.mark.parametrize("profile", ["base", "daemon", "dev"])
def test_every_declared_dependency_is_pinned(profile: str) -> None:
    pins = pinned(profile)

    names = [canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in declared(profile)]

    assert [name for name in names if name not in pins] == []


@pytest.mark.parametrize("profile", ["base", "daemon", "build"])
def test_profiles_pin_one_version_of_a_package(profile: str) -> None:
    everything = pinned("dev")

    assert pinned(profile).items() <= everything.items()


def test_base_install_brings_nothing_of_the_daemon() -> None:
    daemon_only = {
        "python-pkcs11",
        "sqlalchemy",
        "alembic",
        "uvloop",
        "structlog",
        "prometheus-client",
    }

    assert daemon_only.isdisjoint(pinned("base"))


@pytest.mark.parametrize("name", ["python-pkcs11", "uvicorn"])
def test_what_is_relied_on_inside_is_declared_at_exactly_the_pinned_version(name: str) -> None:
    assert f"{name}=={pinned('daemon')[name]}" in declared("daemon")


def test_top_level_holds_only_what_the_map_names() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in tracked_files()}

    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL


def test_licence_is_the_one_that_the_metadata_names() -> None:
    head = (ROOT / "LICENSE").read_text()[:400]

    assert project()["license"] == "Apache-2.0"
    assert "Apache License" in head
    assert "Version 2.0" in head


def test_scripts_can_be_run() -> None:
    unrunnable = [
        path.name
        for path in (ROOT / "scripts").iterdir()
        if path.is_file() and not path.stat().st_mode & 0o111
    ]

    assert unrunnable == []
