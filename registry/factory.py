"""The application factory, which reads the configuration and connects all packages."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Flask, current_app, jsonify, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as BaseResponse

from registry import addresses, cli, config, database, observability, probes
from registry.addresses import ExternalURL, FromProxies, OwnAddress, UserHeader
from registry.blueprints import api, cross_origin, monitoring, oidc, pypi, ui
from registry.blueprints.auth import sessions
from registry.blueprints.auth.admissions import Admissions
from registry.blueprints.pypi.admitted import AdmittedPages, AdmittedUploads
from registry.blueprints.pypi.prepared import PreparedAnswers
from registry.blueprints.routing import (
    API,
    OIDC,
    CanonicalPaths,
    IdConverter,
    LateRule,
    NamespaceConverter,
    PagePathConverter,
    PageProjectConverter,
    RestConverter,
    addresses_of,
)
from registry.domain.accounts.sessions import LIFETIME
from registry.domain.oidc import exchanged_tokens
from registry.domain.oidc.keys import Issuers
from registry.domain.packages import requirements
from registry.domain.packages.about import Documents
from registry.domain.packages.contents import Contents
from registry.domain.packages.downloads import Tally
from registry.domain.packages.readmes import Readmes
from registry.domain.reachability import Upstream
from registry.domain.single_sign_on.provider import Provider
from registry.domain.upstream.asks import Asks
from registry.domain.upstream.files import Files
from registry.domain.upstream.late import LateIndex
from registry.domain.upstream.pages import KeptPages
from registry.environ_keys import PREFLIGHT
from registry.errors import Code, DiskFull, RegistryError, Unavailable, is_disk_full
from registry.metrics import Metrics
from registry.server import SMALL_BODY_BYTES
from registry.server.peers import Proxies
from registry.storage import open_storage
from registry.storage.receptions import Receptions

_PROTECTIVE = (("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "SAMEORIGIN"))
_NOT_SHARED = ("Cache-Control", "max-age=0, private, must-revalidate")  # of responses of the API without another
MOST_FIELDS = 10_000  # of a form; a mebibyte can have half a million


def create_app(overrides: Mapping[str, object] | None = None, *, creates_instance: bool = True) -> Flask:
    """Create the WSGI application.

    :param overrides: settings by name, which take precedence over the environment (``registry.config``).
    :param creates_instance: whether to create the instance folder with a secret key if there is none.
    :raises ConfigurationError: a setting is invalid, or the resource it names is not usable.
    """
    values = config.load(overrides)
    if not creates_instance:
        config.require_instance(values)
    config.prepare_instance_folder(values)
    app = _flask(values)
    app.before_request(_refuse_large_body)
    database.init_app(app)
    _add_services(app, values)
    app.before_request(_refuse_many_fields)  # before anything reads the form
    sessions.init_app(app)
    observability.init_app(app)
    probes.init_app(app)
    app.register_blueprint(pypi.blueprint)
    app.register_blueprint(api.blueprint)
    app.register_blueprint(oidc.blueprint)
    app.register_blueprint(monitoring.blueprint)
    ui.init_app(app)
    cli.init_app(app)
    app.extensions["uploads"] = _addresses_of(app, "is_asked_before_body")
    app.extensions["reads"] = _addresses_of(app, "is_preparable")
    _register_error_handlers(app)
    app.before_request(_refuse_unusable_address)
    cross_origin.init_app(app)
    app.after_request(_add_common_headers)
    _wrap(app, values)
    return app


def _flask(values: Mapping[str, Any]) -> Flask:
    """Return an application with the configuration, and without routes."""
    app = Flask(
        "registry",
        template_folder=str(config.ROOT / "templates"),
        static_folder=str(config.ROOT / "static"),
        instance_path=str(values["INSTANCE_PATH"]),
    )
    app.config.update(values)
    app.config.update(
        TOKEN_KEY=hmac.digest(values["SECRET_KEY"].encode(), b"token digests", "sha256"),
        MAX_CONTENT_LENGTH=SMALL_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=SMALL_BODY_BYTES,
        SESSION_COOKIE_NAME="registry_session",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,  # API responses set no cookies
        PERMANENT_SESSION_LIFETIME=LIFETIME,
    )
    app.config["OIDC_AUDIENCE"] = exchanged_tokens.audience(values["EXTERNAL_URL"], app.config["TOKEN_KEY"])
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.url_rule_class = LateRule
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.url_map.converters.update(
        project=NamespaceConverter,
        group=NamespaceConverter,
        id=IdConverter,
        rest=RestConverter,
        page_project=PageProjectConverter,
        page_group=PagePathConverter,
        page_namespace=PagePathConverter,
    )
    return app


def _add_services(app: Flask, values: Mapping[str, Any]) -> None:
    """Create what lasts as long as the process, and is used by many requests: ``app.extensions``.

    :raises ConfigurationError: the store is not usable as configured.
    """
    storage, tally = open_storage(values["STORAGE_URL"], values), Tally()
    app.extensions["storage"] = storage
    app.extensions["downloads"] = tally
    app.extensions["metrics"] = Metrics(tally.note)
    app.extensions["admissions"] = Admissions(app.config["TOKEN_KEY"])
    app.extensions["issuers"] = Issuers()
    app.extensions["identity_provider"] = _identity_provider(values)
    app.extensions["receptions"] = Receptions(values["INSTANCE_PATH"] / "receiving", values["MAX_RECEIVING_SIZE"])
    app.extensions["readmes"] = Readmes(storage)
    app.extensions["documents"] = Documents(storage)
    app.extensions["contents"] = Contents(storage)
    app.extensions["tend_requirements"] = partial(requirements.tend, storage)
    _add_upstream(app, values)


def _add_upstream(app: Flask, values: Mapping[str, Any]) -> None:
    """Create what requests use that are about the upstream index, which is not asked yet."""
    metrics: Metrics = app.extensions["metrics"]
    public_index = LateIndex(
        values["UPSTREAM_URL"],
        username=values["UPSTREAM_USERNAME"] or "",
        password=values["UPSTREAM_PASSWORD"] or "",
        file_hosts=values["UPSTREAM_FILE_HOSTS"] or (),
        connections=values["THREADS"],
    )
    files = Files(
        public_index,
        app.extensions["storage"],
        context=app.app_context,
        cache_bytes=values["UPSTREAM_CACHE_SIZE"],
        largest_bytes=values["MAX_FILE_SIZE"],
        request_threads=values["THREADS"],
        count=metrics.count_fetched,
    )
    metrics.on_use = files.note_use
    app.extensions["upstream"] = Upstream(values["UPSTREAM_URL"], is_checked=values["UPSTREAM_CHECK"])
    app.extensions["upstream_asks"] = Asks()
    app.extensions["upstream_files"] = files
    app.extensions["upstream_pages"] = KeptPages(
        public_index,
        values["INSTANCE_PATH"] / "upstream",
        fresh_seconds=values["UPSTREAM_PAGE_SECONDS"],
        threads=values["THREADS"],
    )


def _identity_provider(values: Mapping[str, Any]) -> Provider | None:
    """Return the identity provider of the configuration, of which nothing is asked yet."""
    if values["OIDC_ISSUER"] is None:
        return None
    return Provider(
        values["OIDC_ISSUER"],
        values["OIDC_CLIENT_ID"],
        values["OIDC_CLIENT_SECRET"],
        scopes=values["OIDC_SCOPES"],
        groups_claim=values["OIDC_GROUPS_CLAIM"],
    )


def _addresses_of(app: Flask, mark: str) -> re.Pattern[str]:
    """Return a pattern that matches the paths of the views with a mark, for use before routing."""
    marked = {endpoint for endpoint, view in app.view_functions.items() if getattr(view, mark, False)}
    return addresses_of(rule.rule for rule in app.url_map.iter_rules() if rule.endpoint in marked)


def _wrap(app: Flask, values: Mapping[str, Any]) -> None:
    """Add the WSGI middleware, innermost first."""
    with app.app_context():
        engine = database.db.engine
    application: Any = AdmittedPages(app.wsgi_app, app, [*_PROTECTIVE, *cross_origin.HEADERS])
    application = AdmittedUploads(application, app, [*_PROTECTIVE, _NOT_SHARED, *cross_origin.HEADERS])
    application = OwnAddress(CanonicalPaths(application))
    application = PreparedAnswers(
        application, app.extensions["reads"], app.extensions["uploads"], engine, app.config["TOKEN_KEY"]
    )
    app.extensions["answers"] = application
    if values["EXTERNAL_URL"]:  # takes precedence over the headers of proxies
        application = ExternalURL(application, values["EXTERNAL_URL"])
    if values["TRUSTED_PROXIES"]:
        count = values["TRUSTED_PROXIES"]
        proxied = ProxyFix(application, x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=count)
        networks = values["TRUSTED_PROXY_ADDRESSES"]
        application = proxied if networks is None else FromProxies(proxied, application, Proxies(networks))
    if values["TRUSTED_USER_HEADER"]:
        application = UserHeader(application, values["TRUSTED_USER_HEADER"], Proxies(values["TRUSTED_PROXY_ADDRESSES"]))
    metrics: Metrics = app.extensions["metrics"]
    metrics.watch_pool(engine)
    app.wsgi_app = observability.RequestLog(application, metrics)  # type: ignore[method-assign]


def _register_error_handlers(app: Flask) -> None:
    """Handle errors outside blueprints: unknown URLs, wrong methods, oversized bodies, an unavailable database."""

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> BaseResponse:
        body: dict[str, object] = {"error": f"{error.code} {_phrase(error)}"}
        if pypi.is_misplaced_upload(error):
            return pypi.refuse_misplaced_upload(error, body)
        if not _is_api():
            return ui.refuse_http(error)
        if oidc.is_asked():
            return oidc.refuse_http(error)
        if pypi.is_read():
            return pypi.problems.of_http_error(error, body)
        if pypi.is_misplaced_read(error):
            return pypi.refuse_misplaced_read(error, body)
        response = error.get_response()
        response.data = jsonify(body).data
        response.content_type = "application/json"
        return response

    @app.errorhandler(RegistryError)
    def refuse(error: RegistryError) -> BaseResponse:
        if not _is_api():
            return ui.refuse(error)
        if oidc.is_asked():
            return oidc.refuse(error)
        if pypi.is_read():
            return pypi.refuse(error)
        response = jsonify(error.body())
        response.status_code = error.status
        response.headers.update(error.headers())
        return response

    @app.errorhandler(SQLAlchemyError)
    def unanswered(error: SQLAlchemyError) -> BaseResponse:
        if not database.is_unanswered(error):
            return broken(error)
        app.logger.error("The database did not answer: %s", database.cause(error))
        return refuse(Unavailable(Code.DATABASE_AWAY))

    @app.errorhandler(OSError)
    def failed(error: OSError) -> BaseResponse:
        """Respond to a full disk, which buffering can encounter wherever forms are read or files are inspected."""
        return refuse(DiskFull(Code.DISK_FULL)) if is_disk_full(error) else broken(error)

    @app.errorhandler(Exception)
    def broken(_error: Exception) -> BaseResponse:
        app.logger.exception("A request failed.")
        return refuse(RegistryError())


def _refuse_large_body() -> None:
    """Refuse a body that only an upload can have; the server asks before it receives it.

    A wrong address is refused as such: the upload would not succeed with a smaller file.

    :raises RequestEntityTooLarge: its declared length is too large.
    """
    view = current_app.view_functions.get(request.endpoint or "")
    is_large = (request.content_length or 0) > SMALL_BODY_BYTES
    if is_large and request.routing_exception is None and not getattr(view, "is_asked_before_body", False):
        raise RequestEntityTooLarge


def _refuse_many_fields() -> None:
    """Refuse a form whose fields take long to parse. Werkzeug bounds their number in multipart forms alone.

    :raises RequestEntityTooLarge: it has more than ``MOST_FIELDS``.
    """
    is_received = MOST_FIELDS < (request.content_length or 0) <= SMALL_BODY_BYTES and PREFLIGHT not in request.environ
    is_form = is_received and request.mimetype == "application/x-www-form-urlencoded"
    if is_form and request.get_data().count(b"&") >= MOST_FIELDS:
        raise RequestEntityTooLarge


def _refuse_unusable_address() -> None:
    """Refuse a request with an address that no link can begin with.

    :raises BadRequest: the ``Host`` header, or one of a trusted proxy, is invalid.
    """
    addresses.require_usable(request.environ)


def _phrase(error: HTTPException) -> str:
    return "Not Allowed" if error.code == 405 else error.name


def _is_api() -> bool:
    return request.path.startswith((API, f"{OIDC}/"))


def _add_common_headers(response: BaseResponse) -> BaseResponse:
    for name, value in _PROTECTIVE:
        response.headers.setdefault(name, value)
    if _is_api():
        if request.method == "OPTIONS" and "Allow" in response.headers:
            response.status_code = 204
            response.data = b""
        response.headers.setdefault(*_NOT_SHARED)
    return response
