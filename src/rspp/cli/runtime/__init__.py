"""`rspp runtime`: what the runtime's state is, what changed, is it healthy, what can an operator do."""
