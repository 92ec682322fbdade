"""The ASGI app: routes, problems, documentation."""

from __future__ import annotations

from litestar import Litestar
from litestar._asgi.routing_trie import traversal
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from services.gateway import operations, problems, routes
from services.gateway.core import Core
from services.gateway.docs_page import PlainPage
from services.gateway.lingering import lingering
from services.gateway.metering import metered

API_VERSION = "1"  # of the API, as in its paths

_DESCRIPTION = (
    "A photo or clip goes in, a styled picture, a dancing video, a swapped face or a clean cutout comes out, "
    "and every byte lives no longer than its app promised. Errors are problem+json (RFC 9457)."
)


def make_app(core: Core) -> ASGIApp:
    """The public API over `core`."""

    async def injected() -> Core:
        return core

    app = Litestar(
        route_handlers=[
            routes.router(core),
            operations.healthz,
            operations.readyz,
            operations.metrics,
        ],
        dependencies={"core": Provide(injected)},
        exception_handlers={Exception: problems.answer},
        openapi_config=OpenAPIConfig(
            title="Mayfly",
            version=API_VERSION,
            description=_DESCRIPTION,
            path="/docs",
            render_plugins=[PlainPage(), JsonRenderPlugin(path="/openapi.json")],
            components=Components(security_schemes={"tenant key": SecurityScheme(type="http", scheme="bearer")}),
        ),
        logging_config=None,
        debug=False,
    )
    _remember_no_paths(app)
    return metered(lingering(app))


def _remember_no_paths(app: Litestar) -> None:
    """A path may name a user. Litestar would keep the last 1,024 of them, and their parameters, for as long as we run.

    Finding the route anew costs 2 µs a request.
    """
    app.asgi_router.handle_routing = app.asgi_router._handle_routing  # type: ignore[assignment]  # noqa: SLF001
    traversal.parse_path_params = getattr(traversal.parse_path_params, "__wrapped__", traversal.parse_path_params)
