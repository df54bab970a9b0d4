"""Alembic's scripts; `strongroomd.storage.migration` runs them."""
