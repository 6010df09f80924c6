"""Who may act: members of the fleet, and the leases by which they own sessions."""
