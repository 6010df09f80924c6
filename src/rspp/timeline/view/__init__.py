"""What people see of a run: rows in a terminal, a page in a browser."""
