"""What a good team would build instead: the same gateway, sealing and store, with Celery on Redis behind them.

The gateway is ours, unchanged: `owner` answers the verbs that it asks of an owner, keeps each job in Redis, and hands
the work to `tasks`, tuned as Celery's own documentation tunes it for work that must not be lost.
"""
