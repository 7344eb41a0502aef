"""decider: which Python distribution files an organisation may install, decided behind nginx.

errors      the error tree                      index/   one index: a directory, or one behind nginx
names       project names and patterns          egress/  the fetcher: the one way out, behind nginx
filenames   what a file's name says             store/   rules, tokens, reviews, audit: SQLite or Redis
files       distribution files, project pages   settings where things are, read once
pages       both wire formats, negotiation      repository  what a client points at: joins the above
rules       a rule, and the compiled snapshot   web/     Flask: nginx's questions, the API, people
decision    ownership, verdict, fingerprint     cli      the command line, and `up`, the supervisor
hosts       where files may come from

The first seven are pure: standard library, `packaging` and `msgspec`, no I/O, no clock.
"""

__version__ = "0.1.0"
