"""The realtime speech pipeline platform: what decides is pure, what waits is outside."""

__version__ = "0.1.0"
