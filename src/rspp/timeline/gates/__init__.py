"""The contract's release gates, computed from recordings: what is missing fails, and nothing is filled in."""
