"""Who gets in, and how much of everything: slots, quotas, usage, capacity."""
