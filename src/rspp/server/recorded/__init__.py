"""What the console shows of one session, of pipelines and of providers, for whoever may see it; nothing waits in the loop.

    recorded = Recorded(plane, Places(data, store), rows=engine.snapshots.rows, prices=..., meters=...)

    await recorded.sessions(principal, {"tenant": ..., "state": ..., "pipeline": ..., "worker": ..., "text": ...}, first, after)
    await recorded.session(principal, tenant, session_id, parts)             -> Session, or None
    await recorded.timeline(principal, tenant, session_id, {"kind": ..., "node": ..., "lane": ..., "turn": ..., "first": ..., "after": ...})
    await recorded.replay(principal, tenant, session_id)                     -> ReplayResult, or None
    await recorded.diff(principal, tenant, session_id, other)                -> DiffResult, or None
    await recorded.pipelines(principal, tenant)                              recorded.pipeline(principal, name, version)
    await recorded.providers(rows)                                           recorded.load(rows, tenant)
    await recorded.close()
    recorded_routes(recorded, gate)                                          the sound, as WAV, with Range

What is not there and what is another tenant's is None, alike. Who may see a session and not what was said in it gets it with
`withheld` saying so. `principal` is the control plane's; each look at a recording is on record (`looks`).

    Recorded -> Looks        may they, and as far as what: the timeline's access policy
             -> Places       where recordings lie
             -> Shelf        what was read already; else
             -> Children     processes that read, compare and replay, killed when they take too long
"""
