"""The operators' door: metrics and health over plain HTTP, for agents on the same node."""
