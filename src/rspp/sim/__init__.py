"""One session in virtual time: scripted callers, providers, transports and planes around a real kernel, all from a seed.

Nothing here reads a clock (but to say how much CPU a run took), sleeps, or draws a number outside its seed.
"""
