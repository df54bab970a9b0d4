"""Random requests with good signatures to the XKS door of a real daemon."""

import http.client
import json
import random
import re
import ssl
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.bench import xksrig
from tests.fuzz.targets import expect
from tests.fuzz.xkstargets import DOCUMENTS, NAMES, body_of
from tests.soak.xksstage import Workers
from tests.xksdoor import ENCRYPT, signed

from strongroomd.frontends.xks.errors import ErrorName
from strongroomd.frontends.xks.routes import Operation

_ACTS = {
    Operation.HEALTH: "health",
    Operation.METADATA: "metadata",
    Operation.ENCRYPT: "encrypt",
    Operation.DECRYPT: "decrypt",
}
_STATUSES = {name.wire: name.status for name in ErrorName}
_BUGS = {ErrorName.INTERNAL.wire}


class XksCalls:
    """A daemon of its own, and what becomes of requests to it.

    Args:
        stack: closes what is opened.

    Attributes:
        ends: error names and `200`, by how often.
    """

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-fuzz-xks-")))
        self.ends: Counter[str] = Counter()
        stores = stack.enter_context(xksrig.serving(xksrig.found(folder, 2)))
        self._target = stores.make("fuzzed", 1)
        self._workers = Workers(stores.daemon)
        self._pids = self._workers.pids()
        where, trust = self._target.address, ssl.create_default_context(cafile=self._target.ca)
        self._host = where.authority
        self._connection = http.client.HTTPSConnection(where.host, where.port, context=trust, timeout=10)
        stack.enter_context(closing(self._connection))
        sealed = json.loads(self._ask("encrypt", json.dumps(ENCRYPT).encode())[1])
        self._documents: dict[Operation, dict[str, Any]] = {
            **DOCUMENTS,
            Operation.DECRYPT: DOCUMENTS[Operation.DECRYPT] | sealed,
        }
        self._documents[Operation.DECRYPT].pop("additionalAuthenticatedData")

    def __call__(self, source: random.Random) -> None:
        """Send one request."""
        operation = source.choice(list(self._documents))
        key = "key-0" if source.random() < 0.9 else source.choice(("no-key", "..", "%2e", "a" * 129))
        status, body = self._ask(_ACTS[operation], body_of(source, self._documents[operation]), key)
        expect(self._workers.pids() == self._pids, "a worker died")
        if status == 200:
            self.ends["200"] += 1
            return
        told = json.loads(body)
        name = told["errorName"]
        self.ends[name] += 1
        expect(name in NAMES - _BUGS and _STATUSES[name] == status, f"{status} {name}")
        expect(re.fullmatch(r"[ -~]{1,511}", told["errorMessage"]) is not None, "a message that may be shown")

    def _ask(self, act: str, body: bytes, key: str = "key-0") -> tuple[int, bytes]:
        target = self._target
        path = target.address.path + ("/health" if act == "health" else f"/keys/{key}/{act}")
        headers = signed(
            path, body, host=self._host, secret=target.secret.encode(), access_key_id=target.access_key_id
        )
        self._connection.request("POST", path, body, headers)
        reply = self._connection.getresponse()
        return reply.status, reply.read()
