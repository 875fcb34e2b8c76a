"""Every path of the door, as one literal table: the server is built from it, and documents about it are checked against it."""

from typing import Final, Literal, NamedTuple

from collector.envelopes import PATHS, Place

Action = Literal["take", "swallow", "settings", "flags", "healthz", "readyz", "metrics", "openapi", "debug", "reset"]


class Route(NamedTuple):
    """One method on one path. OPTIONS is answered on every path beside."""

    method: str
    path: str
    action: Action
    """What is done: a method of `collector.app.Door`."""
    place: Place | None = None
    """Of `take`: in whose format the events come."""


PIXEL: Final = "/i"
"""Takes its events from the query of a GET."""

ROUTES: Final = (
    *(Route("GET" if path == PIXEL else "POST", path, "take", place) for path, place in PATHS.items()),
    # what SDKs ask for beside
    Route("POST", "/v1/m", "swallow"),
    Route("GET", "/v1/projects/{write_key}/settings", "settings"),
    Route("POST", "/decide/", "flags"),
    Route("POST", "/flags/", "flags"),
    Route("GET", "/openapi.json", "openapi"),
    # for operators; not answered to who comes through a proxy, save the first
    Route("GET", "/healthz", "healthz"),
    Route("GET", "/readyz", "readyz"),
    Route("GET", "/metrics", "metrics"),
)
DEVELOPMENT: Final = (
    Route("GET", "/v1/debug/{which}", "debug"),
    Route("POST", "/v1/debug/reset", "reset"),
)
"""In development mode only."""


def routes_of(development: bool) -> tuple[Route, ...]:
    """What a door serves."""
    return (*ROUTES, *DEVELOPMENT) if development else ROUTES
