"""The gateway: the public HTTP API. Its state is two topics read whole (`tenants`, `owners`); it never joins Ray.

`app` wires the routes; `guard` knows the tenant; `owner_client` asks the owner of a partition; `upload` seals a stream
as it comes, after `intake` has looked at it; `download` opens one, as long as its grant lives (`grants`, `revocation`).
Whatever goes wrong ends in `problems`.
"""
