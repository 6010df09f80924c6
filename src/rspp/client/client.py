"""Where calls come from: one line, or a conversation over as many as it takes."""

from __future__ import annotations

from rspp.client.connect import connect
from rspp.client.session import session


class Client:
    """`connect` opens one line, which is lost when it is lost; `session` finds its session again."""

    connect = staticmethod(connect)
    session = staticmethod(session)
