"""What the owner of a partition does: decisions are pure, shells commit them.

How it runs: `app` (Faust, corrected), `estates` (partitions come and go), `flow` (events in order, acknowledged once
committed), `estate` (one partition, open), `book` (its rows, typed and indexed), `watch` (who waits for a job).
What it decides: `api` and `owner` (what gateways ask), `jobs` and `assets` (what happens to them), `dispatch` (leases),
`grants` (who reads or writes now), `views` (what a tenant is shown).
How things go: `retention` (what is due), `closing` (let go, then keys die), `certify` (receipts), `sweeper` (objects).
What keeps them: `cases` (who approved what), `holds` (legal holds), `held` (what a hold keeps). What comes back:
`restore` (what of a backup may).
"""
