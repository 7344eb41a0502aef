"""Names below data_dir that more than one process goes by; nothing else, so that whoever needs one loads no more."""

__all__ = ["EGRESS_SOCKET", "INDEXES_SOCKET", "SOCKET"]

SOCKET = "run/decider.sock"  #: where gunicorn listens, and nginx asks
EGRESS_SOCKET = "run/egress.sock"  #: where the fetcher listens; nginx asks, and the decider for its webhook
INDEXES_SOCKET = "run/indexes.sock"  #: where nginx listens for the decider: index pages, parts of files
