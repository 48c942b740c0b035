"""The Flask application: pages, errors, and the headers of every answer."""

import logging
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, abort, jsonify, render_template, request
from markdown_it import MarkdownIt
from werkzeug.exceptions import HTTPException, InternalServerError

from xray.model.card import model_card
from xray.webapp import answers
from xray.webapp.api import api
from xray.webapp.limits import Limits
from xray.webapp.openapi import describe_api
from xray.webapp.samples import Sample
from xray.webapp.scoring import Scorer
from xray.webapp.service import Service, describe, service
from xray.webapp.uploads import MemoryRequest

HEADERS = {
    # Nothing inline and nothing from elsewhere; pictures are made in the page (blob:)
    # or come inside an answer (data:).
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

logger = logging.getLogger(__name__)
pages = Blueprint("pages", __name__)


def create_app(
    scorers: Sequence[Scorer],
    samples: Sequence[Sample] = (),
    limits: Limits | None = None,
    hosts: Collection[str] | None = None,
) -> Flask:
    """The application.

    Args:
        scorers: the models, the default first.
        samples: pictures to try.
        limits: what is taken; None is the default of each.
        hosts: names by which the server may be called, so that no foreign page reaches
            it by a name of its own (DNS rebinding); None takes any.
    """
    app = Flask(__name__)
    app.request_class = MemoryRequest
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    limits = limits or Limits()
    app.config["MAX_CONTENT_LENGTH"] = limits.upload_bytes
    app.extensions["xray"] = Service(scorers, samples, limits)
    app.register_blueprint(api)
    app.register_blueprint(pages)
    app.register_error_handler(Exception, _show_error)
    app.before_request(lambda: _check_host(hosts))
    app.before_request(_check_site)
    app.after_request(_add_headers)
    return app


@pages.get("/")
def get_page() -> str:
    """The page itself."""
    parts = service()
    return render_template(
        "index.html",
        models=[describe(scorer) for scorer in parts.scorers],
        samples=parts.samples,
        drawn=all(isinstance(sample.content, bytes) for sample in parts.samples),
        limits=parts.limits,
    )


@pages.get("/models/<model_id>")
def get_card(model_id: str) -> str:
    """The model card."""
    scorer = service().scorer(model_id)
    card = _render(model_card(scorer.info, scorer.name))
    return render_template("card.html", model=describe(scorer), card=card)


@pages.get("/api")
def get_api() -> str:
    """The API for people."""
    return render_template("api.html", api=describe_api(service().limits))


@pages.get("/samples/<int:number>")
def get_sample(number: int) -> Response:
    """One picture to try."""
    sample = service().sample(number)
    try:
        return Response(sample.read(), mimetype=sample.mimetype)
    except OSError:
        abort(404, f"The sample {sample.name} is no longer there.")


@pages.get("/samples/<int:number>/thumbnail")
def get_thumbnail(number: int) -> Response:
    """One picture to try, small."""
    return Response(service().sample(number).thumbnail, mimetype="image/png")


@pages.get("/healthz")
def get_health() -> Response:
    """Whether the server answers."""
    return jsonify(answers.Health(status="ok").model_dump())


def _render(card: str) -> str:
    """A model card as HTML, without the part that is there for programs."""
    _, _, text = card.removeprefix("---").partition("---")
    # html off: a sidecar may come from anywhere, and tags in it are shown as text. So
    # the tags below are the renderer's own; what scrolls must be in reach of the keys.
    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for tag, scrolling in (
        ("<pre>", '<pre tabindex="0">'),
        ("<table>", '<div class="scroll" tabindex="0"><table>'),
        ("</table>", "</table></div>"),
    ):
        page = page.replace(tag, scrolling)
    return page


def _check_host(hosts: Collection[str] | None) -> None:
    try:
        name = urlsplit(f"//{request.headers.get('Host', '')}").hostname
    except ValueError:
        name = None
    if hosts is not None and name not in hosts:
        abort(421, f"This server is called {' or '.join(sorted(hosts))}.")


def _check_site() -> None:
    """Refuse, before it costs anything, what another site's page makes a browser send.

    Its answer would not be shown to that page, but would use up the visitor's uploads.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:  # an older browser, or a program
        origin, host = request.headers.get("Origin"), request.headers.get("Host")
        own = origin is None or origin.partition("://")[2] == host
        site = "same-origin" if own else "cross-site"
    if site not in ("same-origin", "none"):
        abort(403, "Another site's page sent this. Upload on the page itself.")


def _show_error(error: Exception) -> Response:
    """Any failure as a problem (RFC 9457), or as a page where one was asked for."""
    if not isinstance(error, HTTPException):
        # Without the trace: it may hold parts of an X-ray's header.
        logger.error("%s %s: %s", request.method, request.path, type(error).__name__)
        error = InternalServerError("A fault of the program; the server goes on.")
    problem = answers.Problem(
        status=error.code or 500,
        title=error.name,
        detail=str(error.description),
    )
    if _wants_page():
        response = Response(render_template("error.html", problem=problem))
    else:
        text = problem.model_dump_json()
        response = Response(text, mimetype="application/problem+json")
    response.status_code = problem.status
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _wants_page() -> bool:
    return (
        request.method == "GET"
        and not request.path.startswith("/api/v1/")
        and request.accept_mimetypes.accept_html
    )


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint == "static":
        # Kept, and asked for anew each time: an update shows at once.
        response.headers["Cache-Control"] = "no-cache"
    return response
