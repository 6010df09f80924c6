"""Adapters that carry what is told of sessions to where operators look."""
