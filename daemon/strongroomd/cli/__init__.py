"""The daemon's own command line: `strongroomd`. Its users are operators; callers use `strongroom`."""

from strongroomd.cli.app import main

__all__ = ["main"]
