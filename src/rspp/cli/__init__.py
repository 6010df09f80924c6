"""The command line shows and wires; it decides nothing. One file holds one command."""
