"""The state engine: what the runtime's state is, who owns it, what changed, is it healthy, what can an operator do."""
