"""Strongroom's daemon: custody of keys that are made and used inside an HSM."""

__version__ = "0.1.0"
