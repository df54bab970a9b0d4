"""The use cases of custody. The gate is the one way in: policy, quota and audit surround all work."""
