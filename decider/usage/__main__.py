"""The collector as a process: `python -m decider.usage ACCEPTED` (settings as settings_to_json writes them).

SIGTERM: collects what is there, and ends. SIGHUP: reads ACCEPTED again.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from decider.logs import configure
from decider.metrics import FOLDER, clear_seats, take_seat
from decider.settings import settings_from_json
from decider.usage.process import run_collector

SEAT_ROLE = "usage"

if __name__ == "__main__":
    configure()
    accepted = Path(sys.argv[1])
    metrics_folder = Path(settings_from_json(accepted.read_bytes()).data_dir) / FOLDER
    clear_seats(metrics_folder, SEAT_ROLE)
    take_seat(metrics_folder, SEAT_ROLE)
    run_collector(lambda: settings_from_json(accepted.read_bytes()), clock=lambda: datetime.now(UTC))
