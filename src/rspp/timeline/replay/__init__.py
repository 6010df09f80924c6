"""A recording done again: by the nodes and recorded model outputs, from outputs alone, or with the providers called anew."""
