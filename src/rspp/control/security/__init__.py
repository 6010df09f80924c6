"""Who may do what, and its proof: tokens, keys, principals, audit, approvals, TLS."""
