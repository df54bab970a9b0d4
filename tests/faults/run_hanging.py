"""Runs the real supervisor over real workers that can be made to hang inside the module: `run_hanging.py CONFIG`."""

import sys
from pathlib import Path

from strongroomd.config import load, read
from strongroomd.supervisor import Supervisor
from strongroomd.telemetry import logs

logs.configure("info")
path = Path(sys.argv[1])
data = read(path)
worker = Path(__file__).with_name("hanging_worker.py")
sys.exit(Supervisor(load(path, data), data, (sys.executable, str(worker), "worker")).run())
