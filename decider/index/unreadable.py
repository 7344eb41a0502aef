"""Index pages that could not be read, so that the same bytes are not read again: a hostile page takes seconds.

Reading may not be added here.
"""

import threading
from collections import OrderedDict

from decider.errors import UnreadablePage
from decider.names import NormalizedName

__all__ = ["MAX_KNOWN", "UnreadablePages"]

MAX_KNOWN = 1_000  #: of one index


class UnreadablePages:
    """Those of one index, the last of each project; safe to share between threads.

    What is kept of an error is its words: its traceback would keep the frames that read the page, and the page.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[NormalizedName, tuple[bytes, str, str]] = OrderedDict()

    def refuse(self, project: NormalizedName, digest: bytes) -> None:
        """Raise UnreadablePage as before where the project's page is still that which `digest` is of."""
        known = self._known.get(project)
        if known is not None and known[0] == digest:
            raise UnreadablePage(*known[1:])

    def add(self, project: NormalizedName, digest: bytes, error: UnreadablePage) -> None:
        """Remember why it cannot be read."""
        with self._lock:
            self._known[project] = (digest, error.index, error.reason)
            self._known.move_to_end(project)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
