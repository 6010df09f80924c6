"""Any call again: recorded, redacted, exported, replayed exactly, compared with any other, and judged by the gates."""
