"""Sound as bytes: codecs, sample rates, files. Pure: no clock, no socket, no session."""
