"""What keeps things: one room for each store, none of which knows another."""
