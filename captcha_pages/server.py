"""A server for local pages: it answers requests from its own pages only, limits them, and explains what it refuses.

post("/label", function)        JSON in, checked against the function's type hints; JSON out
post_bytes("/api/read", ...)    the bytes of a file in; JSON out
serve(routes, args)             until Ctrl-C
"""

import argparse
import errno
import json
import socket
import typing
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from captcha_cli import UserError
from captcha_pages.guard import Guard
from captcha_predict.form import misfit
from captcha_predict.images import MAX_BYTES

import jinja2
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent
HOST, PORT = "127.0.0.1", 8765
MAX_JSON = 20_000  # bytes of a JSON request
SECONDS_TO_CLOSE = 2  # for open connections when the server stops


def page(path: str, template: str, **values: Any) -> Route:
    """A page made from a template in this folder."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True)
    html = environment.get_template(template).render(**values)
    return Route(path, lambda request: HTMLResponse(html))


def get_png(path: str, function: Callable[[str], bytes]) -> Route:
    """The PNG file that the function returns for the request's ?file=."""
    return Route(path, lambda request: Response(function(request.query_params.get("file", "")), media_type="image/png"))


def post(path: str, function: Callable[..., dict]) -> Route:
    """Call the function with the arguments in a JSON object; respond with its result."""
    kinds = typing.get_type_hints(function)
    kinds.pop("return")

    async def respond(request: Request) -> Response:
        values = _checked(await _body(request, MAX_JSON), kinds)
        return JSONResponse(await run_in_threadpool(function, **values))

    return Route(path, respond, methods=["POST"])


def post_bytes(path: str, function: Callable[[bytes], dict]) -> Route:
    """Call the function with the bytes of an image file; respond with its result."""

    async def respond(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(function, await _body(request, MAX_BYTES)))

    return Route(path, respond, methods=["POST"])


async def _body(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise HTTPException(413, f"the request has more than {limit} bytes; send fewer")
    return bytes(content)


def _checked(content: bytes, kinds: dict[str, type]) -> dict[str, Any]:
    """The values of a JSON object. Raises UserError unless it has exactly these names and types."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError("the request is not JSON; send a JSON object") from error
    if not isinstance(values, dict) or values.keys() != kinds.keys():
        raise UserError(f"the request must be a JSON object with exactly these names: {', '.join(kinds)}")
    if problem := misfit(values, kinds, "the request"):
        raise UserError(problem)
    return values


def application(routes: Sequence[Route], host: str = HOST) -> Starlette:
    """The application, with these routes and the files in static/."""
    handlers = {
        UserError: lambda request, error: JSONResponse({"error": str(error)}, 400),
        OSError: lambda request, error: JSONResponse({"error": f"not saved: {error.strerror or error}"}, 507),
        HTTPException: lambda request, error: JSONResponse({"error": error.detail}, error.status_code),
    }
    static = Mount("/static", StaticFiles(directory=FOLDER / "static"))
    guard = Middleware(Guard, host=host)
    return Starlette(routes=[*routes, static], middleware=[guard], exception_handlers=handlers)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=HOST, help=f"address to serve on; default: {HOST}, for this machine only")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to serve on; 0: any free port; default: {PORT}")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def serve(routes: Sequence[Route], args: argparse.Namespace) -> None:
    """Serve until Ctrl-C. Raises UserError if the address cannot be used."""
    listening = _listen(args.host, args.port)
    address = f"http://{_in_url(args.host)}:{listening.getsockname()[1]}/"
    if args.host not in (HOST, "localhost", "::1"):
        print("warning: anyone who can reach this address can use the page; there is no password")
    print(f"open {address} in a browser; Ctrl-C stops", flush=True)
    if args.open:
        webbrowser.open(address)
    config = uvicorn.Config(
        application(routes, args.host),
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
    )
    uvicorn.Server(config).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OverflowError as error:
        raise UserError(f"--port {port} is out of range; it must be from 0 to 65535") from error
    except OSError as error:
        advice = "set another --port" if error.errno == errno.EADDRINUSE else "set another --host or --port"
        raise UserError(f"{host}:{port}: cannot be used ({error.strerror}); {advice}") from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
