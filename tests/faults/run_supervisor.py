"""Runs the real supervisor over fake workers: `run_supervisor.py CONFIG`."""

import sys
from pathlib import Path

from strongroomd.config import load, read
from strongroomd.supervisor import Supervisor, Timing
from strongroomd.telemetry import logs

logs.configure("debug")
path = Path(sys.argv[1])
data = read(path)
fake = Path(__file__).with_name("fake_worker.py")
timing = Timing(start=3.0, first_backoff=0.2, longest_backoff=1.0, reload=0.2)
sys.exit(Supervisor(load(path, data), data, (sys.executable, str(fake)), timing).run())
