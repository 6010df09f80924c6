"""The faces that speak HTTP: the control plane's operations, their description, and the probes.

Each file makes routes; `app` puts them together, and other faces are added there without touching these.
"""
