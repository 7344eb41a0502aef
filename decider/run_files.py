"""Names below data_dir that more than one process goes by; nothing else, so that whoever needs one loads no more."""

__all__ = ["SOCKET"]

SOCKET = "run/decider.sock"  #: where gunicorn listens, and nginx asks
