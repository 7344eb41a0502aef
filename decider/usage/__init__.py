"""Who was served what: nginx's usage log, collected, kept and asked.

decided      what a decision tells nginx to write beside the request
records      what is told of a request; columns: what is stored
lines        from nginx's words to a row; installers: from a User-Agent; clients: pseudonyms
following    nginx's log on disk: whole lines from a place on, turning over
staging      the recent records and the place in the log, in one SQLite transaction
parts        the columnar files: one day, one node, a range of numbers each
keeping      sealing, merging, expiring, erasing
collector    the process that does all that; process: its signals
engine       DuckDB in a process of its own; filters, queries, answers: what it is asked and says
reading      the questions: lists, counts, exports, exposure
exposure     which of the files that were asked for rules refuse; pure. alarm: who has what a change begins to refuse
exporting    lines of JSON, CSV

Why DuckDB over Parquet, behind a small SQLite database: the analytical questions (a project over a year, counts by
client) read a few columns of sorted, compressed files, some 10 to 20 bytes a record, from any number of nodes that
share a folder, with no server; SQLite alone takes twenty times the space and one machine; a database server would be
one more thing to run. Parquet files cannot be appended to, SQLite can, durably, together with the place in the log.

Importing this package imports nothing: the decision path needs `decided` alone, and only the collector reads user
agents, only `engine_process` knows DuckDB.
"""
