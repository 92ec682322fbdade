"""What Litestar cannot infer for the OpenAPI document: bodies that are decoded, or streamed, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from services.gateway import bodies
from services.gateway.bodies import AgeBody, AnswerBody, ConsentBody, SubmitBody, VerifyBody
from services.gateway.bodies import RequestBody as RightsBody


def _json_body(kind: type[msgspec.Struct]) -> RequestBody:
    (schema,), parts = msgspec.json.schema_components([kind], ref_template="{name}")
    return RequestBody(
        content={"application/json": OpenAPIMediaType(schema=cast("Schema", _inline(schema, parts)))}, required=True
    )


def _inline(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inline(parts[schema["$ref"]], parts)
        return {key: _inline(value, parts) for key, value in schema.items()}
    return [_inline(value, parts) for value in schema] if isinstance(schema, list) else schema


@dataclass
class SubmitOperation(Operation):
    """`POST …/jobs`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(SubmitBody)


@dataclass
class ConsentOperation(Operation):
    """`PUT …/consents/{purpose}`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(ConsentBody)


@dataclass
class RequestOperation(Operation):
    """`POST …/requests`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(RightsBody)


@dataclass
class VerifyOperation(Operation):
    """`POST …/verify`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(VerifyBody)


@dataclass
class AnswerOperation(Operation):
    """`POST …/answer`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(AnswerBody)


@dataclass
class AgeOperation(Operation):
    """`PUT …/age`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(AgeBody)


@dataclass
class RegisterOperation(Operation):
    """`POST …/accounts`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(bodies.RegisterBody)


@dataclass
class ConfirmOperation(Operation):
    """`POST …/accounts/confirm`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(bodies.ConfirmBody)


@dataclass
class CodeOperation(Operation):
    """`POST …/account/address/confirm`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(bodies.CodeBody)


@dataclass
class LoginOperation(Operation):
    """`POST …/sessions`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(bodies.LoginBody)


@dataclass
class AddressOperation(Operation):
    """`POST …/account/address`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(bodies.AddressBody)


@dataclass
class AmendOperation(Operation):
    """`PATCH …/account`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(bodies.AmendBody)


@dataclass
class LeaveOperation(Operation):
    """`POST …/account/cancel`."""

    def __post_init__(self) -> None:
        self.request_body = _json_body(bodies.LeaveBody)


@dataclass
class UploadOperation(Operation):
    """`PUT …/inputs/{n}`."""

    def __post_init__(self) -> None:
        media = OpenAPIMediaType(schema=cast("Schema", {}))  # OpenAPI 3.1: raw binary has no schema
        self.request_body = RequestBody(content={"*/*": media}, required=True, description="The media itself")
