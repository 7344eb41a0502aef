"""The fetcher: the one way out. Whatever is fetched from an index, a file host or a webhook goes through it.

upstream    one index's way out: questions, redirects, credentials
connecting  its connections: strict parsing, addresses
targets     what they go by: origin, hosts, certificates, proxy
wording     what goes wrong with them, in words
tls         who is believed, and as whom it shows itself
passing     an answer to nginx, begun with its first byte
counting    each thing that is asked for, by what came of it
held_back   bytes on their way through, the last of which wait until size and digest are right
files       a distribution file or a companion of it, for nginx's cache `files`
buffers     how much of it is read at once
pages       an index page, for nginx's cache `indexes`
parts       a part of a wheel, for the metadata in it
events      a webhook's event
answers     what nginx and the decider are told; nothing in it is a host's own words
service     the routes, over a unix socket
__main__    the processes

(!) Nothing that a host sends is passed on as it came: status line and headers are ours, written here from what was
parsed; only bodies pass, within limits, and files only as the digest has them. Deciding may not be added here.
"""
