"""What waits: the asyncio shell around kernels. It decides nothing; it carries inputs in and effects out, in time.

Many sessions live in one event loop. Ports are in `ports`; the top surface is `Host`.
"""
