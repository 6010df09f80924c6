"""The replicated store: keys, logs and blobs on NATS JetStream, for as many machines as reach it.

`names` writes what callers call things as subjects, `link` is the connection and its end, `mailbox` who waits for an answer,
`jetstream` is what is asked of the server, `streams` makes the three streams, `cells` replaces and reads what stands under one
subject, `following` reads on and on, `keys`, `logs` and `blobs` are the three shapes, `faults` names what goes wrong, `store`
is the port.
"""

from rspp.adapters.stores.nats.link import Address
from rspp.adapters.stores.nats.store import NatsStore, Settings

__all__ = ["Address", "NatsStore", "Settings"]
