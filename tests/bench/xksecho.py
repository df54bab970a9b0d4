"""A bare HTTPS server on the door's own server library: what a call costs before anything is done.

Run as `python xksecho.py TLS_FOLDER PORT`; several share a port by SO_REUSEPORT. Every request is read whole and
answered with as many bytes as Encrypt's answer has.
"""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

ANSWER = b'{"ciphertext":"' + b"A" * 300 + b'"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def application(_scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with the same bytes."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


def main(tls: Path, port: int) -> None:
    """Serve until killed."""
    import uvicorn
    import uvloop

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        application,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        ssl_certfile=tls / "server.pem",
        ssl_keyfile=tls / "server.key",
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        started = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await started

    uvloop.run(serve())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
