"""Several processes behind one address: started, watched, replaced one after the other, and ended in good order.

    Supervisor (owns the listening socket)
        +- Child (process) <-- channel, a socket pair: beats, orders --> ChildRun (in the process) -> Served

Decisions (`crashes`, `accepting`, `health`) are pure; the rest waits. What a child serves is whoever's that starts it.
"""
