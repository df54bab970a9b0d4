"""One function per RPC: plain arguments in, a `Call` out. `Client` and `AsyncClient` have them as methods."""
