"""Ways in and out for callers: one room for each protocol, none of which knows another."""
