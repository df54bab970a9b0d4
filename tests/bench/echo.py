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
    """Answer every call, and every message of the stream, with the same bytes."""

    async def answer(_request: bytes, _context: Any) -> bytes:
        return reply

    async def answer_each(requests: Any, _context: Any) -> Any:
        async for _ in requests:
            yield reply

    class Everything(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            if details.method.endswith("/Operate"):
                return grpc.stream_stream_rpc_method_handler(answer_each)
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    server.add_generic_rpc_handlers((Everything(),))
    pair = ((tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (tls / "ca.pem").read_bytes(), True)
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), bytes(int(sys.argv[3]))))
