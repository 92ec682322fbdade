"""The public route of RAM-only apps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from litestar import Request, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody, Schema
from litestar.params import QueryParameter
from litestar.types import ASGIApp

from services.gateway.bodies import AppName
from services.gateway.core import Core
from services.gateway.problems import MEDIA_TYPE
from services.gateway.render.answer import MULTIPART
from services.gateway.render.form import FORM
from services.gateway.render.rendering import Rendering
from services.gateway.tenants import Tenant

OperationName = Annotated[
    str, QueryParameter(name="operation", max_length=64, description="Unless the form has a field `operation`")
]

_FORM_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "operation": {"type": "string"},
        "params": {"type": "object", "description": "Of the operation; before the first picture"},
        "image": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "One or many: every part with a filename is a picture, whatever its name",
        },
    },
}


@dataclass
class RenderOperation(Operation):
    """`POST …/render`."""

    def __post_init__(self) -> None:
        raw = OpenAPIMediaType(schema=cast("Schema", {}))
        self.request_body = RequestBody(
            content={FORM: OpenAPIMediaType(schema=cast("Schema", _FORM_SCHEMA)), "*/*": raw},
            required=True,
            description="A form with one or many pictures, or one picture itself",
        )
        self.responses = {
            "200": OpenAPIResponse(
                description="One picture: its result. Several: a part for each, as it is ready, with `Mayfly-Item` "
                "(its number, from 0) and `Mayfly-Status`; what failed is a part of type application/problem+json",
                content={"*/*": raw, MULTIPART: raw},
            ),
            "default": OpenAPIResponse(description="A problem (RFC 9457)", content={MEDIA_TYPE: raw}),
        }


@post(
    "/{app:str}/render",
    name="render",
    operation_class=RenderOperation,
    summary="Work on pictures in memory only; results come back on this connection",
    request_max_body_size=None,
)
async def render(
    request: Request[Tenant, None, State], core: NamedDependency[Core], app: AppName, operation: OperationName = ""
) -> ASGIApp:
    """For apps whose policy stores nothing. No job, no id, no record: what is lost on the way is sent again."""
    return Rendering(core, request.user, app, operation)


ROUTES: Final[list[Any]] = [render]
