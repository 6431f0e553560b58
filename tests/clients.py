"""Clients that speak HTTP as pip, twine and scripts do, over Flask's test client."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from typing import Any
from xml.etree.ElementTree import Element

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from registry.models import Group, Namespace, User
from tests import factories, markup
from tests.builders import BuiltFile

JSON = "application/vnd.pypi.simple.v1+json"
Credentials = tuple[str, str] | str | None


def basic(credentials: Credentials) -> dict[str, str]:
    """The ``Authorization`` header for a user name and password, or for a token under any name."""
    if credentials is None:
        return {}
    username, password = credentials if isinstance(credentials, tuple) else ("__token__", credentials)
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def pypi_path(namespace: Namespace | str | int, *, group: bool | None = None) -> str:
    """The address of a namespace's PyPI endpoints, by number, or in the given spelling."""
    is_group = isinstance(namespace, Group) if group is None else group
    identifier = namespace.id if isinstance(namespace, Namespace) else namespace
    return (
        f"/api/v4/groups/{identifier}/-/packages/pypi" if is_group else f"/api/v4/projects/{identifier}/packages/pypi"
    )


@dataclass(frozen=True)
class Link:
    text: str
    href: str
    attributes: dict[str, str]


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self._open: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._open = {name: value or "" for name, value in attrs}

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.links.append(Link(data, self._open.get("href", ""), self._open))
            self._open = None


def links(html: str) -> list[Link]:
    parser = _Anchors()
    parser.feed(html)
    return parser.links


class Client(FlaskClient):
    """A client whose requests see nothing of the test that sends them: neither its database session nor its ``g``."""

    def __init__(self, app: Flask, **options: Any) -> None:
        super().__init__(app, app.response_class, **options)

    def open(self, *args: Any, **options: Any) -> TestResponse:
        return Context().run(super().open, *args, **options)


class Pip:
    """Reads indexes. ``credentials``: a token, a (user name, password) pair, or nothing."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def index(
        self, namespace: Any, credentials: Credentials = None, accept: str = "*/*", **options: Any
    ) -> TestResponse:
        return self.get(f"{pypi_path(namespace)}/simple/", credentials, accept, **options)

    def simple_page(
        self, namespace: Any, name: str, credentials: Credentials = None, accept: str = "*/*", **options: Any
    ) -> TestResponse:
        return self.get(f"{pypi_path(namespace)}/simple/{name}/", credentials, accept, **options)

    def download(
        self, namespace: Any, file: BuiltFile, credentials: Credentials = None, suffix: str = "", **options: Any
    ) -> TestResponse:
        return self.get(f"{pypi_path(namespace)}/files/{file.sha256}/{file.filename}{suffix}", credentials, **options)

    def get(self, url: str, credentials: Credentials = None, accept: str = "*/*", **options: Any) -> TestResponse:
        headers = {"Accept": accept, **basic(credentials), **options.pop("headers", {})}
        return self.client.open(url, method=options.pop("method", "GET"), headers=headers, buffered=True, **options)


class Twine:
    """Uploads as twine does: fields first, then the file."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def upload(
        self, namespace: Any, file: BuiltFile, credentials: Credentials = None, *, url: str | None = None,
        headers: dict[str, str] | None = None, **fields: Any,
    ) -> TestResponse:  # fmt: skip
        """``fields`` replace or add form fields; ``None`` leaves one out."""
        form: dict[str, Any] = {
            ":action": "file_upload",
            "protocol_version": "1",
            "name": file.name,
            "version": file.version,
            "filetype": file.kind,
            "metadata_version": "2.1",
            "sha256_digest": hashlib.sha256(file.content).hexdigest(),
        }
        form |= fields
        form = {name: value for name, value in form.items() if value is not None}
        form.setdefault("content", (io.BytesIO(file.content), file.filename))
        if fields.get("content", "") is None:
            del form["content"]
        files = {name: FileStorage(*value) for name, value in form.items() if isinstance(value, tuple)}
        boundary, body = encode_multipart(form | files)
        return self.client.post(
            url or pypi_path(namespace),
            data=body,
            headers={**basic(credentials), **(headers or {})},
            content_type=f"multipart/form-data; boundary={boundary}",
        )


class Rest:
    """A script with an access token (or none) on the REST API; JSON in, JSON out."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def request(
        self, method: str, path: str, token: str | None = None, json: Any = None, headers: dict[str, str] | None = None,
        **options: Any,
    ) -> TestResponse:  # fmt: skip
        sent = {"PRIVATE-TOKEN": token} if token else {}
        return self.client.open(
            f"/api/v4{path}", method=method, json=json, headers={**sent, **(headers or {})}, **options
        )

    def get(self, path: str, token: str | None = None, **options: Any) -> TestResponse:
        return self.request("GET", path, token, **options)

    def post(self, path: str, token: str | None = None, json: Any = None, **options: Any) -> TestResponse:
        return self.request("POST", path, token, json, **options)

    def put(self, path: str, token: str | None = None, json: Any = None, **options: Any) -> TestResponse:
        return self.request("PUT", path, token, json, **options)

    def patch(self, path: str, token: str | None = None, json: Any = None, **options: Any) -> TestResponse:
        return self.request("PATCH", path, token, json, **options)

    def delete(self, path: str, token: str | None = None, **options: Any) -> TestResponse:
        return self.request("DELETE", path, token, **options)


class Page:
    """An answer with a page in it, read by a strict HTML parser."""

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        self.status_code = response.status_code
        self.headers = response.headers
        self.location = response.headers.get("Location", "")
        self.html = response.get_data(as_text=True)
        self.path = response.request.full_path.rstrip("?")

    @cached_property
    def tree(self) -> Element:
        """:raises html5lib.html5parser.ParseError: the page is not valid HTML."""
        return markup.parse(self.html)

    @property
    def text(self) -> str:
        """All words of the page, single-spaced."""
        return " ".join("".join(self.tree.itertext()).split())

    @property
    def title(self) -> str:
        return " ".join("".join(self.tree.find(".//title").itertext()).split())  # type: ignore[union-attr]

    @property
    def links(self) -> list[str]:
        return [anchor.get("href", "") for anchor in self.tree.iter("a")]

    @property
    def flashes(self) -> list[str]:
        return [" ".join("".join(found.itertext()).split()) for found in self.by_class("flash")]

    @property
    def errors(self) -> dict[str, str]:
        """The errors beside the fields, by the field's name; the first of these fields has the focus."""
        errors = {
            found.get("id", "").removesuffix("-error"): "".join(found.itertext()) for found in self.by_class("error")
        }
        focused = [element.get("id", "") for element in self.tree.iter() if element.get("autofocus") is not None]
        assert not errors or (len(focused) == 1 and focused[0].startswith(next(iter(errors)))), focused
        return errors

    def by_class(self, name: str) -> list[Element]:
        return [element for element in self.tree.iter() if name in (element.get("class") or "").split()]

    def fields(self, action: str) -> dict[str, str]:
        """The values of the untouched form that posts to this address."""
        form = next(
            form for form in self.tree.iter("form")
            if form.get("method") == "post" and form.get("action", self.path) == action
        )  # fmt: skip
        sent = {}
        for field in form.iter():
            name = field.get("name")
            if name is None or field.get("disabled") is not None:
                continue
            if field.tag == "select":
                chosen = [option for option in field.iter("option") if option.get("selected") is not None]
                first = field.find(".//option")
                sent[name] = (chosen[0] if chosen else first).get("value", "") if first is not None else ""
            elif field.tag == "textarea":
                sent[name] = (field.text or "").removeprefix("\n")
            elif field.tag == "input" and (
                field.get("type") not in ("checkbox", "radio") or field.get("checked") is not None
            ):
                sent[name] = field.get("value", "")
        return sent


class Browser:
    """A browser without scripts: keeps cookies, fills in forms. Requests share nothing else."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()

    def sign_in(self, user: User) -> Browser:
        """Sign in without the time that verifying a password takes."""
        with self.client.session_transaction() as session:
            session["_user_id"] = factories.session(user)
        return self

    def get(self, path: str, **options: Any) -> Page:
        return self.open(path, method="GET", **options)

    def open(self, path: str, **options: Any) -> Page:
        with self.app.app_context():
            return Page(self.client.open(path, **options))

    def submit(self, path: str, changes: Mapping[str, Any] | None = None, *, action: str | None = None) -> Page:
        """Open a page, fill in one of its forms, send it.

        :param action: where the form posts to, when that is not the page itself.
        """
        page = self.get(path)
        target = action or path
        sent = page.fields(target) | dict(changes or {})
        return self.open(target, method="POST", data={name: value for name, value in sent.items() if value is not None})

    def post(self, path: str, fields: Mapping[str, Any] | None = None) -> Page:
        """Send a form with this session's token, whether or not this user has a page with such a form."""
        page = self.get("/users/sign_in")
        form = "/users/sign_in"
        if page.status_code == 303:
            page, form = self.get("/help"), "/users/sign_out"
        sent = {"csrf_token": page.fields(form)["csrf_token"]} | dict(fields or {})
        return self.open(path, method="POST", data=sent)
