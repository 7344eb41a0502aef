"""The process that `engine` starts: reads Sources and Questions as lines of JSON, writes Answers.

The only module that knows DuckDB. It never fetches an extension: what it needs is built in.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import IO

import duckdb
import msgspec

from decider.usage.columns import COLUMNS
from decider.usage.engine import Answer, Question, Sources

__all__ = ["main"]

#: 128 MB do not seal 250,000 rows, these do 500,000 (keeping.MAX_ROWS), and merge 10,000,000.
MEMORY = "256MB"
_BATCH = 2_000  #: rows in one line of an answer
_MAX_LINE = (
    256 * 1024
)  #: bytes of one recent record; DuckDB sets aside twice as much for each thread, 32 MB if not told


def main(questions: IO[bytes], answers: IO[bytes], *, parent: int) -> None:
    """Answer until there are no more questions, or `parent` is gone."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # gone before it could be tied to us
        return
    sources = msgspec.json.decode(questions.readline(), type=Sources)
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "threads": sources.threads,
            "temp_directory": sources.temporary,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": False,
        }
    )
    connection.execute(_records(sources))
    for line in questions:
        question = msgspec.json.decode(line, type=Question)
        try:
            found = connection.execute(question.statement, list(question.parameters))
            while rows := found.fetchmany(_BATCH):
                _write(answers, Answer(rows=[list(row) for row in rows]))
        except duckdb.Error as error:
            _write(answers, Answer(fault=" ".join(str(error).split())[:500]))
        else:
            _write(answers, Answer(done=True))


def _write(answers: IO[bytes], answer: Answer) -> None:
    answers.write(msgspec.json.encode(answer) + b"\n")
    answers.flush()


def _records(sources: Sources) -> str:
    """The statement that makes the view `records`: times in microseconds, whatever they are stored as."""
    selects = []
    if sources.parts:
        names = ", ".join(_quoted(part) for part in sources.parts)
        fields = ", ".join(_micros(column.name, column.stored) for column in COLUMNS)
        selects.append(
            f"SELECT {fields} FROM read_parquet([{names}], union_by_name = true, hive_partitioning = false)"
        )
    if sources.recent is not None or not sources.parts:
        selects.append(_recent(sources))
    return "CREATE TEMP VIEW records AS " + " UNION ALL ".join(selects)


def _recent(sources: Sources) -> str:
    types = {column.name: column.typed for column in COLUMNS if column.name != "node"}
    fields = ", ".join(
        f'{_quoted(sources.node)} AS "node"'
        if column.name == "node"
        else f'"{column.name}"::BOOLEAN AS "{column.name}"'
        if column.stored == "BOOLEAN"
        else f'"{column.name}"'
        for column in COLUMNS
    )
    if sources.recent is None:
        nothing = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in types.items())
        return f"SELECT {fields} FROM (SELECT {nothing}) WHERE false"
    spelled = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    return (
        f"SELECT {fields} FROM read_json({_quoted(sources.recent)}, format = 'newline_delimited',"
        f" maximum_object_size = {_MAX_LINE}, columns = {{{spelled}}})"
    )


def _micros(name: str, stored: str) -> str:
    return f'epoch_us("{name}") AS "{name}"' if stored.startswith("TIMESTAMP") else f'"{name}"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # nobody waits for the answer any more
        main(sys.stdin.buffer, sys.stdout.buffer, parent=int(sys.argv[1]))
