"""A tenant's backend, as a process of its own that has ended before anything is scanned.

python -m tests.forensic.tenant     a `Plan` on stdin, a `Told` on stdout, both JSON
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
import msgspec

from tests.integration.client import ENDED, POLL_S

WAIT_S = 60.0
CONSENTS_IN = "genzo"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One job and how its data are to end."""

    app: str
    operation: str
    subject: str
    choice: str
    media: bytes
    params: dict[str, Any] = {}
    key: str = ""
    consents: tuple[tuple[str, bool], ...] = ()  # (version, granted) of face_processing, before
    take: bool = False  # GET every result
    end: str = "deadline"  # deadline | asset | job | subject | withdraw


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, as whom."""

    url: str
    key: str
    steps: tuple[Step, ...] = ()
    forget: tuple[tuple[str, str], ...] = ()  # (app, subject) to delete


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    assets: list[list[dict[str, Any]]] = []
    states: list[str] = []
    results: list[bytes] = []


async def run(plan: Plan) -> Told:
    headers = {"Authorization": f"Bearer {plan.key}"}
    told = Told()
    async with httpx.AsyncClient(base_url=plan.url, headers=headers, timeout=WAIT_S) as http:
        for step in plan.steps:
            view, results = await _step(http, step)
            told.assets.append(view["assets"])
            told.states.append(view["state"])
            told.results.extend(results)
        for app, subject in plan.forget:
            _ok(await http.delete(f"/v1/{app}/subjects/{subject}"))
    return told


async def _step(http: httpx.AsyncClient, step: Step) -> tuple[dict[str, Any], list[bytes]]:
    base = f"/v1/{step.app}"
    for version, granted in step.consents:
        await _consent(http, step, version, granted=granted)
    body = {
        "subject": step.subject,
        "operation": step.operation,
        "choice": step.choice,
        "params": step.params,
        "inputs": [{}],
    }
    headers = {"Idempotency-Key": step.key} if step.key else {}
    job = _ok(await http.post(f"{base}/jobs", json=body, headers=headers))["id"]
    assets: dict[str, dict[str, Any]] = {}
    view = _ok(await http.put(f"{base}/jobs/{job}/inputs/0", content=step.media))
    async with asyncio.timeout(WAIT_S):
        while True:  # a job that kept nothing lists nothing any more: what it had was told before
            assets |= {asset["id"]: asset for asset in view.get("assets", ())}
            if view["state"] in ENDED:
                break
            await asyncio.sleep(POLL_S)
            view = _ok(await http.get(f"{base}/jobs/{job}"))
    results = []
    for asset in assets.values() if step.take else ():
        if asset["state"] == "erased" or asset["role"] == "input":
            continue
        answer = await http.get(f"{base}/assets/{asset['id']}")
        if answer.status_code == httpx.codes.OK:
            results.append(answer.content)
    await _end(http, step, job, list(assets))
    return {"state": view["state"], "assets": list(assets.values())}, results


async def _end(http: httpx.AsyncClient, step: Step, job: str, assets: list[str]) -> None:
    base = f"/v1/{step.app}"
    if step.end == "asset":
        for asset in assets:
            await http.delete(f"{base}/assets/{asset}")
    elif step.end == "job":
        _ok(await http.delete(f"{base}/jobs/{job}"))
    elif step.end == "subject":
        _ok(await http.delete(f"{base}/subjects/{step.subject}"))
    elif step.end == "withdraw":
        await _consent(http, step, step.consents[-1][0], granted=False)


async def _consent(http: httpx.AsyncClient, step: Step, version: str, *, granted: bool) -> None:
    url = f"/v1/{CONSENTS_IN}/subjects/{step.subject}/consents/face_processing"
    answer = await http.put(url, json={"granted": granted, "version": version})
    if answer.status_code != httpx.codes.CONFLICT:  # a text that is not in force: it went in all the same
        _ok(answer)


def _ok(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise AssertionError(f"{answer.request.method}: {answer.status_code} {answer.text}")
    found: dict[str, Any] = answer.json()
    return found


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(wanted))))
