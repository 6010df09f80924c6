"""`rspp control`: the control plane as a service, and every operation of it as a command."""
