"""`/docs` without a byte from elsewhere: Litestar's own pages load their JavaScript from a CDN, this one has none."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_METHODS: Final = ("get", "head", "put", "post", "delete")
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
code {{ font-family: ui-monospace, monospace; }} summary {{ cursor: pointer; padding: .3rem 0; }}
.m {{ display: inline-block; min-width: 4.5rem; font-weight: 600; text-transform: uppercase; }}
pre {{ background: #8882; padding: .7rem; overflow: auto; }} td {{ padding: 0 1rem .2rem 0; vertical-align: top; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee; }} a {{ color: #8cf; }} }}
</style><h1>{title} <small>{version}</small></h1><p>{description}</p>
<p>The whole description, for tools: <a href="/docs/openapi.json">/docs/openapi.json</a> (OpenAPI {openapi}).</p>
{operations}</html>"""


class PlainPage(OpenAPIRenderPlugin):
    """The document as one self-contained page, without script."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """The page."""
        info = openapi_schema["info"]
        found = "".join(
            _operation(method, path, item[method])
            for path, item in sorted(openapi_schema["paths"].items())
            for method in _METHODS
            if method in item
        )
        return _PAGE.format(
            title=escape(info["title"]),
            version=escape(info["version"]),
            description=escape(info.get("description", "")),
            openapi=escape(openapi_schema["openapi"]),
            operations=found,
        ).encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{escape(p['in'])}<td>{escape(p.get('description') or '')}"
        for p in operation.get("parameters", ())
    )
    body = "".join(
        f"<p>Body, <code>{escape(media)}</code>:</p><pre>{_fields(content.get('schema') or {})}</pre>"
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    return (
        f"<details><summary><span class=m>{method}</span> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary') or '')}</summary>"
        f"<p>{escape(operation.get('description') or '')}</p><table>{rows}</table>{body}</details>"
    )


def _fields(schema: dict[str, Any]) -> str:
    if not schema:
        return "the media itself"
    required = set(schema.get("required", ()))
    return "\n".join(
        f"{escape(name)}: {escape(str(field.get('type', 'any')))}{'' if name in required else ' (optional)'}"
        for name, field in schema.get("properties", {}).items()
    )
