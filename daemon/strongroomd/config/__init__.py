"""One TOML file becomes frozen settings; every mistake is reported at once, with its place.

Guarantees: a `Settings` value exists only if every setting in it is valid; a mistake's text names the setting
and states the rule, never the value, so that a misplaced PIN does not reach a terminal or a log. Defaults and
warnings are explained to operators in `ops/config/strongroomd.toml`. Nothing here opens a key, a PIN or a
socket: files are only looked at (`stat`).
"""

from strongroomd.config.checks import file_mistakes
from strongroomd.config.loading import load, read, stamp
from strongroomd.config.mistakes import ConfigurationErrors, Mistake
from strongroomd.config.place import Beat, ExitCode, WorkerPlace, daemon_file
from strongroomd.config.sections import Address, Settings
from strongroomd.config.tokens import TokenPlan, token_names, token_plans

__all__ = [
    "Address",
    "Beat",
    "ConfigurationErrors",
    "ExitCode",
    "Mistake",
    "Settings",
    "TokenPlan",
    "WorkerPlace",
    "daemon_file",
    "file_mistakes",
    "load",
    "read",
    "stamp",
    "token_names",
    "token_plans",
]
