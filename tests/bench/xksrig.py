"""What the XKS benchmark needs running: a daemon with its door, stores with keys, a bare HTTPS echo beside it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import rig
from tests.bench.xkscalls import Target
from tests.faults.ill_token import steer
from tests.theirs import at_token

from strongroom import Client
from strongroom.results import RequestLimit

AT_ONCE = 1_000
DOOR = """
[xks]
address = "127.0.0.1:0"
certificate_file = "tls/server.pem"
key_file = "tls/server.key"
max_connections = 4000
"""


def found(folder: Path, workers: int, *, handles: int = 0) -> Path:
    """Make token, certificates and a configuration with the door, without practical quotas.

    Args:
        folder: of the daemon.
        workers: how many.
        handles: keys that each holds loaded; 0 for the default.
    """
    config = rig.found(folder, workers)
    text = config.read_text() + DOOR
    config.write_text(text.replace("[hsm]\n", f"[hsm]\nhandles = {handles}\n") if handles else text)
    return config


def fill(config: Path, name: str, keys: int) -> str:
    """Make a store with many keys before the daemon serves; gives its id."""
    # A process of its own for each token: a PKCS#11 module is loaded once, for one SoftHSM configuration.
    command = [sys.executable, "-m", "tests.bench.xksfill", str(config), f"/{name}", str(keys)]
    return subprocess.run(command, cwd=rig.ROOT, check=True, capture_output=True, text=True).stdout.strip()


def plant(config: Path, objects: int) -> list[str]:
    """Put so many AES keys of other programs into the token before the daemon serves; gives their labels."""
    labels = [f"theirs-{number}" for number in range(objects)]
    for start in range(0, objects, AT_ONCE):
        steps = [("plant", {"label": label}) for label in labels[start : start + AT_ONCE]]
        at_token(config.parent, *steps, seconds=600)
    return labels


@dataclass(frozen=True)
class Stores:
    """Makes key stores in a daemon of the benchmark's own."""

    daemon: rig.Daemon
    client: Client

    def make(self, name: str, keys: int, per_second: int = 0) -> Target:
        """Make a store with so many external keys, each of a key of its own, and a credential."""
        limit = RequestLimit(per_second, per_second) if per_second else None
        store = self.client.create_key_store(uri_prefix=f"/{name}", limit=limit).key_store_id
        for number in range(keys):
            self.client.add_external_key(store, f"key-{number}", self.client.create_key().arn)
        return self.target(store, name, keys)

    def adopt(self, name: str, labels: Sequence[str]) -> Target:
        """Make a store whose external keys are objects that were in the token before."""
        store = self.client.create_key_store(uri_prefix=f"/{name}").key_store_id
        for number, label in enumerate(labels):
            self.client.add_external_key(store, f"key-{number}", self.client.adopt_key(label=label).arn)
        return self.target(store, name, len(labels))

    def target(self, store: str, name: str, keys: int) -> Target:
        """Make a credential of a store, and say how it is called."""
        pair = self.client.create_key_store_credential(store)
        state = json.loads((self.daemon.folder / "run" / "daemon.json").read_bytes())
        return Target(
            f"https://{state['xks']}/{name}/kms/xks/v1",
            pair.credential.access_key_id,
            pair.secret_access_key,
            tuple(f"key-{number}" for number in range(keys)),
            str(self.daemon.tls / "ca.pem"),
        )


@contextmanager
def serving(config: Path, slow: float = 0.0) -> Iterator[Stores]:
    """Serve; ready when this returns.

    Args:
        config: of the daemon.
        slow: seconds that each encryption and decryption takes in the token besides; 0 for an untouched token.
    """
    rules = None
    if slow:
        rules = config.parent / "ill.json"
        steer(rules, *({"function": name, "seconds": slow} for name in ("C_Encrypt", "C_Decrypt")))
    with rig.daemon(config, rules) as daemon, daemon.client() as client:
        yield Stores(daemon, client)


@contextmanager
def echo(tls: Path, workers: int, like: Target) -> Iterator[Target]:
    """Serve as many bare HTTPS echo processes as the daemon has workers, under the URL of a store."""
    with ExitStack() as stack, socket.socket() as placeholder:
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        for _ in range(workers):
            stack.enter_context(rig.helper("xksecho", tls, port))
        url = f"https://127.0.0.1:{port}{like.address.path}"
        yield Target(url, like.access_key_id, like.secret, like.keys, like.ca)
