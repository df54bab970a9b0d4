"""Runs the real supervisor over workers that can be told where to die: `run_stopping_supervisor.py CONFIG`."""

import sys
from pathlib import Path

from strongroomd.config import load, read
from strongroomd.supervisor import Supervisor
from strongroomd.telemetry import logs

path = Path(sys.argv[1])
data = read(path)
settings = load(path, data)
logs.configure(settings.telemetry.log_level)
worker = Path(__file__).with_name("run_stopping_worker.py")
sys.exit(Supervisor(settings, data, command=(sys.executable, str(worker), "worker")).run())
