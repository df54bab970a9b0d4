"""A look behind the scenes of a stopped daemon's folder, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def inspect(folder: Path) -> dict[str, int]:
    """Verify the stopped daemon's store, token and audit log in a process of its own.

    Returns:
        Figures: records verified, token objects, and what upkeep had to settle.
    """
    command = [sys.executable, "-m", "tests.soak.inspection", str(folder / "strongroomd.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"the folder does not pass inspection:\n{done.stderr.decode()[-4000:]}")
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures
