"""The control plane: what runs where, for whom, under which policy, and which process may speak for a session.

Decisions are pure and stand beside the shells that read and write the store; the way of a frame asks nobody here.
"""
