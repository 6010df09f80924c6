"""`rspp console`: the operator's page with all that it asks, over any store; it is `rspp control serve` by the name that people look for."""

from __future__ import annotations

import click

from rspp.cli.control import serve

HELP = """Serve the operator's console: what is going on, why, and what can be done about it.

Open the address that is printed. In --dev it holds a token; otherwise sign in with one of `rspp control principals token`.
The control plane's REST API, GraphQL, Socket.IO, /metrics and /healthz are at the same address, behind the same tokens.

\b
Examples:
    rspp console --dev --store sqlite://$PWD/.rspp/serve.db --data .rspp
    rspp console --store nats://a,b,c --keys keys --recordings nats://a,b,c
    rspp console --listen 0.0.0.0:8700 --store nats://a,b,c --keys keys --tls-cert c.pem --tls-key k.pem
"""

command = click.Command(
    "console",
    callback=serve.command.callback,
    params=serve.command.params,
    help=HELP,
    epilog=serve.EPILOG,
)

if __name__ == "__main__":
    command()
