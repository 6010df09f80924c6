"""Everything that decides in a session, as pure code: no clock, no task, no chance, no socket."""
