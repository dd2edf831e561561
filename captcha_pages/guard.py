"""Refuses requests of other web sites to a local server, and tells the browser what a page may do.

A web site that is open in the same browser can also send requests to 127.0.0.1. So a request must name this server in
its Host header (a site whose name resolves to 127.0.0.1 would name itself), and must not come from another origin.
"""

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests from other sites, and adds HEADERS to every response."""

    def __init__(self, app: Callable, host: str) -> None:
        self._app, self._host = app, host

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        refusal = _refusal(Request(scope), self._host)
        app = JSONResponse({"error": refusal}, 403) if refusal else self._app
        await app(scope, receive, send_with_headers)


def _refusal(request: Request, host: str) -> str:
    """Why a request is refused; "" if it is not."""
    named = request.headers.get("host", "")
    if not _is_ours(named, host):
        return f"this server is not {named[:100]!r}; use its IP address, localhost, or the name given with --host"
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != named:
        return f"requests from another site ({origin[:100]!r}) are refused"
    return ""


def _is_ours(named: str, host: str) -> bool:
    """Whether a Host header names this server: by an IP address, which no site has as its name, or by --host."""
    try:
        name = urlsplit(f"//{named}").hostname or ""
        return name in ("localhost", host.lower()) or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
