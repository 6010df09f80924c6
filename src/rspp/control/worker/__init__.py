"""A process that holds sessions: its door, what it owns, how it lets go, and what it does for the dead."""

from rspp.control.worker.worker import Worker, WorkerSettings

__all__ = ["Worker", "WorkerSettings"]
