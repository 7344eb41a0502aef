"""What the fields of a rule mean, in a sentence each, for the documentation (DESIGN section 5)."""

__all__ = ["FIELD_NOTES"]

FIELD_NOTES = {
    "action": "`own` says which index a name belongs to; `block`, `hold` and `yank` refuse or discourage; `allow` lifts.",
    "project": "A name; `acme-*`, `acme` and all that begin with `acme-`; `acme*`, a plain prefix; or `*`.",
    "versions": "PEP 440 specifier set; prereleases included.",
    "filename": "Case-sensitive glob.",
    "sha256": "Hex digest of the file.",
    "file_type": "`wheel`, `sdist` or `other`.",
    "index": "Only files from that index; for `own`, the owner.",
    "younger_than": "Duration, as in `7d`, by the upload time that the index states, else since decider first saw the file, by its name and digest.",
    "uploaded_after": "RFC 3339 time, by the same clock.",
    "attested": "`false`: only files without provenance.",
    "repositories": "Names of the repositories where the rule holds; all where left out.",
    "extends": "`own` only: indexes whose files are merged in after the owner's.",
    "lifts": "`allow` only: ids of the rules that it lifts; every liftable `block` and `hold` it matches where left out.",
    "final": "`block`, `hold`: only an `allow` that names the rule lifts it.",
    "reason": "Shown to clients.",
    "reference": "A URL or an advisory's id.",
    "expires_at": "RFC 3339 time from which on the rule is inert; it stays on record.",
    "key": "Identity inside its ruleset; all fields but reason, reference and expiry where left out.",
    "id": "Given by the store, sortable by age, never reused.",
    "revision": "The store's revision that last changed the rule: its ETag.",
}
