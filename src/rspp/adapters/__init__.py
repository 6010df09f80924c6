"""What speaks to the world outside: one port each, and never to each other."""
