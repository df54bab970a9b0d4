"""The native gRPC door."""
