"""decider: which Python distribution files an organisation may install, decided behind nginx.

errors      the error tree                      index/   one index: a directory, or one behind nginx
names       project names and patterns          egress/  the fetcher: the one way out, behind nginx
files       distribution files, project pages   store/   rules, tokens, reviews, audit: SQLite or Redis
pages       both wire formats, negotiation      settings where things are, read once
rules       a rule, and the compiled snapshot   repository  what a client points at: joins the above
decision    ownership, verdict, fingerprint     web/     Flask: nginx's questions, the API, people
hosts       where files may come from           cli      the command line, and `up`, the supervisor

The first six are pure: standard library, `packaging` and `msgspec`, no I/O, no clock.
"""

__version__ = "0.1.0"
