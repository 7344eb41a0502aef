"""A process of its own that works with a store: started by tests, spoken to by pipes."""

import itertools
import sys
from datetime import UTC, datetime

from decider.files import FileIdentity
from decider.rules import Action, RuleDraft
from decider.store import Role, Store, open_store

FEED_SIZE = 5000
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def block(project: str) -> RuleDraft:
    return RuleDraft(action=Action.BLOCK, project=project, reason="malicious")


def answer(store: Store) -> None:
    """For each line on standard input ("revision", or "add <project>"), the revision then."""
    for line in sys.stdin:
        verb, _, project = line.strip().partition(" ")
        if verb == "add":
            store.add_rule(block(project), actor="worker", at=AT)
        say(str(store.revision()))


def write(store: Store, name: str, count: int) -> None:
    """Add `count` rules, and say the id of each."""
    for number in range(count):
        say(store.add_rule(block(f"{name}-{number}"), actor=name, at=AT).id)


def write_on(store: Store, name: str) -> None:
    """Make changes of all kinds for ever, and say each one once it is acknowledged."""
    for number in itertools.count():
        label = f"{name}-{number}"
        say(f"rule {store.add_rule(block(label), actor=name, at=AT).id}")
        store.replace_ruleset("feed", [block(f"{label}-{part}") for part in "abc"], actor=name, at=AT)
        say(f"feed {label}")
        say(f"token {store.add_token(label, Role.READER, f'hash of {label}', actor=name, at=AT).id}")
        store.note_first_seen("public", "acme", [FileIdentity(label, "")], at=AT)
        say(f"seen {label}")


def note(store: Store, index: str, project: str, digest: str, *filenames: str) -> None:
    """Wait for a line, and note the files under that digest."""
    say("ready")
    sys.stdin.readline()
    store.note_first_seen(index, project, [FileIdentity(name, digest) for name in filenames], at=AT)


def feeds(store: Store) -> None:
    """Replace a large ruleset by its next version for ever, and say each one once it is acknowledged."""
    for version in itertools.count():
        drafts = [
            RuleDraft(action=Action.BLOCK, project=f"p{number}", reason=str(version))
            for number in range(FEED_SIZE)
        ]
        store.replace_ruleset("feed", drafts, actor="feed", at=AT)
        say(str(version))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(url: str, path: str, task: str, *arguments: str) -> None:
    store = open_store(url, path=path)
    if task == "answer":
        answer(store)
    elif task == "write":
        write(store, arguments[0], int(arguments[1]))
    elif task == "feeds":
        feeds(store)
    elif task == "note":
        note(store, *arguments)
    else:
        write_on(store, arguments[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
