"""The collector as a process: `python -m decider.usage ACCEPTED` (settings as settings_to_json writes them).

SIGTERM: collects what is there, and ends. SIGHUP: reads ACCEPTED again.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from decider.logs import configure
from decider.settings import settings_from_json
from decider.usage.process import run_collector

if __name__ == "__main__":
    configure()
    accepted = Path(sys.argv[1])
    run_collector(lambda: settings_from_json(accepted.read_bytes()), clock=lambda: datetime.now(UTC))
