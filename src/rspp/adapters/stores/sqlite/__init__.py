"""The embedded store: keys, logs and blobs in one SQLite file, for as many processes as open it.

`file` opens it and knows its tables, `worker` is the one thread that touches it, `keys`, `logs` and `blobs` are its queries,
`watching` sees what others write, `faults` names what goes wrong, `store` is the port.
"""

from rspp.adapters.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
