"""Whatever goes wrong, as one problem+json (RFC 9457), counted once. No byte of a request is in any of them."""

from __future__ import annotations

import math
import traceback
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException

from services.gateway.errors import OwnerRefused
from stream.agents.api import Problem
from stream.errors import MayflyError
from stream.metrics import requests as metrics

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
_METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE")
_KINDS: Final = {404: "unknown-route", 405: "method-not-allowed", 413: "too-large"}

log = structlog.get_logger()


class ProblemDocument(msgspec.Struct, frozen=True):
    """RFC 9457, section 3.1."""

    type: str
    title: str
    status: int
    detail: str


def problem_of(error: BaseException) -> Problem:
    """Kind, status and detail of any exception. What nobody foresaw is `internal`, and tells nothing."""
    match error:
        case OwnerRefused():
            return error.problem
        case MayflyError(kind=kind, status=status):
            return Problem(kind, status, str(error))
        case ValidationException():
            return Problem("bad-name", 400, _validation(error))
        case NotFoundException():
            return Problem("unknown-route", 404, "expected a path of this API: /docs lists them all")
        case HTTPException(status_code=status):
            kind = _KINDS.get(status, "bad-request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal")
            return Problem(kind, status, HTTPStatus(status).description or HTTPStatus(status).phrase)
        case _:
            return Problem("internal", 500, "this is our fault: try again, and tell us if it goes on")


def document(problem: Problem) -> ProblemDocument:
    """As it is told to the caller."""
    title = problem.kind.replace("-", " ").capitalize()
    return ProblemDocument(f"urn:mayfly:problem:{problem.kind}", title, problem.status, problem.detail)


def retry_after_s(problem: Problem) -> int:
    """Whole seconds after which to come again: as predicted, else soon."""
    return math.ceil(problem.retry_after_s) or RETRY_AFTER_S


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemDocument]:
    """Litestar's exception handler for everything."""
    problem = note(error, route_of(request.scope))
    return Response(
        document(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=_headers(request, problem, error),
    )


def note(error: BaseException, route: str) -> Problem:
    """Count a problem, and log where an unforeseen one came from: type and line, never its message."""
    problem = problem_of(error)
    metrics.problem(problem.kind, route)
    if problem.kind == "internal":
        frame = traceback.extract_tb(error.__traceback__)[-1:]
        where = [f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in frame]
        log.error("request.failed", route=route, error=type(error).__name__, where=where)
    return problem


def route_of(scope: Any) -> str:
    """The name of the handler that a request met, or `none`."""
    handler = scope.get("route_handler")
    return str(handler.name or handler.handler_name) if handler is not None else "none"


def _headers(request: Request[Any, Any, Any], problem: Problem, error: Exception) -> dict[str, str]:
    headers = {"cache-control": "no-store"}
    if problem.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["retry-after"] = str(retry_after_s(problem))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowedException):
        headers["allow"] = ", ".join(_allowed(request))
    return headers


def _allowed(request: Request[Any, Any, Any]) -> list[str]:
    """The methods of a path (RFC 9110, 15.5.6), asked of the router itself."""
    allowed = []
    for method in _METHODS:
        try:
            request.app.asgi_router.handle_routing(path=request.scope["path"], method=method)
        except HTTPException:
            continue
        allowed.append(method)
    return allowed


def _validation(error: ValidationException) -> str:
    """Which parameters are wrong, and how. msgspec's messages name types and bounds, not values."""
    extra = error.extra if isinstance(error.extra, list) else []
    found = [f"{e.get('key', 'request')}: {e.get('message', 'not valid')}" for e in extra if isinstance(e, dict)]
    return "; ".join(found) or "a parameter is not of the documented form"
