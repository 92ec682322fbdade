"""Ray computes: a scheduler matches queued work to engine actors, and scales them from zero.

Read in this order: `leases` (what is said), `lanes` (who is next), `autoscaler` (how many), `roster` and `desk` (who
has what), `scheduler` (the Ray actor around them), `attempt` and `actors` (the work itself), `client` (what a worker
calls). `docs/scheduling.md` draws it. Only workers join Ray; `import ray` is in `scheduler` and `client` alone.
"""
