"""A bare grpc.aio server with the daemon's TLS and message sizes: what a call costs before anything is done.

Run as `python echo.py TLS_FOLDER PORT REPLY_BYTES`; several share a port by SO_REUSEPORT.
"""

import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop


async def serve(tls: Path, port: int, reply: bytes) -> None:
    """Answer every unary call, whatever its name, with the same bytes."""

    async def answer(_request: bytes, _context: Any) -> bytes:  # noqa: ANN401, RUF029 - the shape of a handler
        return reply

    class Any_(grpc.GenericRpcHandler):
        def service(self, _details: Any) -> Any:  # noqa: ANN401
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    server.add_generic_rpc_handlers((Any_(),))
    pair = ((tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (tls / "ca.pem").read_bytes(), True)  # noqa: FBT003
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), bytes(int(sys.argv[3]))))
