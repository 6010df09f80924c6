"""What was promised, and whether it is kept: availability, error budgets, incidents."""
