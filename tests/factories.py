"""Rows with defaults: a test names only the fields it is about. Made through the domain, as the product makes them."""

from __future__ import annotations

import functools
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from flask import current_app
from sqlalchemy import text

from registry.blueprints.auth.sessions import SignedIn
from registry.database import Generation, Model, db, transaction, utcnow
from registry.domain import access, namespaces
from registry.domain.access import Principal, PrincipalKind
from registry.domain.accounts import access_tokens, deploy_tokens, jobs, sessions, users
from registry.domain.oidc.exchanged_tokens import Token
from registry.domain.packages import publishing
from registry.domain.packages.publishing import Publication
from registry.domain.packages.uploads import Upload
from registry.models import (
    Group,
    ImportedPipeline,
    InstanceSettings,
    Job,
    Namespace,
    PackageFile,
    Project,
    PublishingToken,
    ReadingToken,
    Role,
    SignInMethod,
    TrustedPublisher,
    TrustedReader,
    User,
    Visibility,
)
from registry.storage import Storage
from tests.builders import BuiltFile

_numbers = count(1)


def user(
    username: str | None = None, *, password: str | None = None, must_change_password: bool = False, **details: Any
) -> User:
    username = username or f"user{next(_numbers)}"
    return users.create_user(
        username=username, email=f"{username}@example.com", name=username.capitalize(), password=password,
        must_change_password=must_change_password, details=users.UserDetails(**details), by=access.SHELL,
    )  # fmt: skip


def group(
    path: str | None = None, *, parent: Group | None = None, owner: User | None = None,
    visibility: Visibility = Visibility.PRIVATE, description: str = "", **settings: Any,
) -> Group:  # fmt: skip
    path = path or f"group{next(_numbers)}"
    made = namespaces.create_group(
        name=path.capitalize(), path=path, parent=parent, visibility=visibility, description=description,
        settings=namespaces.GroupSettings(**settings), by=access.SHELL,
    )  # fmt: skip
    if owner is not None:
        namespaces.add_member(made, owner, Role.OWNER, by=access.SHELL)
    return made


def project(
    path: str | None = None, *, parent: Namespace | None = None, visibility: Visibility = Visibility.PRIVATE,
    **settings: Any,
) -> Project:  # fmt: skip
    path = path or f"project{next(_numbers)}"
    return namespaces.create_project(
        name=path.capitalize(), path=path, parent=parent or group(visibility=Visibility.PUBLIC),
        visibility=visibility, settings=namespaces.ProjectSettings(**settings), by=access.SHELL,
    )  # fmt: skip


def member(namespace: Namespace, role: Role, username: str | None = None, **fields: Any) -> User:
    """A new user with this role in the namespace."""
    made = user(username, **fields)
    namespaces.add_member(namespace, made, role, by=access.SHELL)
    return made


def session(of: User, method: SignInMethod = SignInMethod.PASSWORD) -> str:
    """What the cookie of a new session of this user holds."""
    return SignedIn(of, sessions.start(of, method, key=token_key(), now=utcnow())).get_id()


def access_token(owner: User, *scopes: str, **fields: Any) -> str:
    """The secret of a new personal access token; scope ``api`` unless others are named."""
    return access_tokens.issue_access_token(
        owner, name="test", scopes=scopes or ("api",), key=token_key(), by=access.SHELL, now=utcnow(), **fields
    )[1]


def deploy_token(namespace: Namespace, *scopes: str, **fields: Any) -> str:
    """The secret of a new deploy token; both package scopes unless others are named."""
    return deploy_tokens.issue_deploy_token(
        namespace, name="test", scopes=scopes or ("read_package_registry", "write_package_registry"),
        key=token_key(), by=access.SHELL, **fields,
    )[1]  # fmt: skip


def imported_pipeline(*, year: int = 2021, **changes: Any) -> ImportedPipeline:
    """A pipeline of Ada Lovelace on the GitLab instance that a file was imported from."""
    moment = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    return ImportedPipeline(**{
        "id": 123, "iid": 7, "sha": "11bb5dcb" * 5, "ref": "main", "status": "success", "source": "push",
        "created_at": moment, "updated_at": moment, "web_url": "https://gitlab.test/acme/tools/-/pipelines/123",
        "username": "ada", "user_name": "Ada Lovelace", **changes,
    })  # fmt: skip


def job(project: Project, starter: User, *, lifetime: timedelta = timedelta(hours=1)) -> tuple[Job, str]:
    """A running job and the secret of its token."""
    return jobs.start_job(
        project, starter, name="publish", ref="main", lifetime=lifetime, key=token_key(), by=access.SHELL, now=utcnow()
    )


def signed_in(user: User) -> Principal:
    """Who asks when this user is signed in."""
    return Principal(PrincipalKind.SESSION, user=user)


def by_access_token(owner: User, *scopes: str, **fields: Any) -> Principal:
    """Who asks with a new personal access token."""
    token = access_tokens.find_access_token(access_token(owner, *scopes, **fields), token_key())
    return Principal(PrincipalKind.ACCESS_TOKEN, user=owner, access_token=token)


def by_deploy_token(namespace: Namespace, *scopes: str) -> Principal:
    """Who asks with a new deploy token."""
    token = deploy_tokens.find_deploy_token(deploy_token(namespace, *scopes), token_key(), utcnow())
    return Principal(PrincipalKind.DEPLOY_TOKEN, deploy_token=token)


def by_job(project: Project, starter: User) -> Principal:
    """Who asks with the token of a new running job."""
    return Principal(PrincipalKind.JOB, user=starter, job=job(project, starter)[0])


def by_trusted_publisher(project: Project) -> Principal:
    """Who asks with the token of a job that the project trusts to publish."""
    db.session.add(TrustedPublisher(project_id=project.id, issuer="https://ci.test", claims=_claims(project)))
    token = _exchanged(PublishingToken, project)
    return Principal(PrincipalKind.TRUSTED_PUBLISHER, publishing_token=token)


def by_trusted_reader(namespace: Project | Group) -> Principal:
    """Who asks with the token of a job that the project or group trusts to install."""
    db.session.add(TrustedReader(namespace_id=namespace.id, issuer="https://ci.test", claims=_claims(namespace)))
    return Principal(PrincipalKind.TRUSTED_READER, reading_token=_exchanged(ReadingToken, namespace))


def _claims(namespace: Namespace) -> dict[str, str]:
    return {"sub": f"job of {namespace.id}"}


def _exchanged(kind: type[Token], namespace: Namespace) -> Token:
    token = kind(
        digest=str(next(_numbers)), issuer="https://ci.test", subject="build", claims=_claims(namespace), run_url="",
        expires_at=utcnow() + timedelta(minutes=15),
    )  # fmt: skip
    db.session.add(token)
    commit()
    return token


def token_key() -> bytes:
    key: bytes = current_app.config["TOKEN_KEY"]
    return key


def empty() -> None:
    """Empty the database except for the rows that the migrations insert."""
    db.session.rollback()
    with db.engine.begin() as connection:
        filled = set(connection.exec_driver_sql(_which_have_rows()).scalars())
        for name in filter(filled.__contains__, _tables()):
            connection.exec_driver_sql(f"DELETE FROM {name}")
        connection.exec_driver_sql("UPDATE content_generation SET number = number + 1")
        connection.execute(InstanceSettings.__table__.insert(), {"id": 1})


@functools.cache
def _tables() -> tuple[str, ...]:
    """The tables to empty, each before those that it refers to."""
    names = (table.name for table in reversed(Model.metadata.sorted_tables))
    return tuple(name for name in names if name != "content_generation")


@functools.cache
def _which_have_rows() -> str:
    return " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in _tables())


def content_generation() -> Generation:
    """The number of each part as it is in the database now."""
    with db.engine.connect() as connection:
        numbers = connection.scalars(text("SELECT SUM(number) FROM content_generation GROUP BY part ORDER BY part"))
        return tuple(map(int, numbers))


def raised_parts(before: Generation) -> list[int]:
    """The parts of the content generation whose numbers are higher than before."""
    return [part for part, (old, new) in enumerate(zip(before, content_generation(), strict=True)) if new > old]


def commit() -> None:
    """Commit changes that a test made to records by hand, as a transaction would."""
    with transaction():
        pass


def reload(*records: Any) -> None:
    """Forget what the test's own session has read, so that it sees what a request has written."""
    db.session.rollback()
    for record in records:
        db.session.refresh(record)


def published(project: Project, file: BuiltFile, **arguments: Any) -> PackageFile:
    """A wheel or sdist published in the project; for arguments, see ``publish``."""
    return publish(project, file, **arguments).file


def publish(
    project: Project, file: BuiltFile, *, now: datetime | None = None, by: Principal = access.SHELL, **fields: str
) -> Publication:
    """Publish a wheel or sdist in the project, as by an administrator at the shell.

    :param fields: of the upload's form, by column name.
    """
    storage: Storage = current_app.extensions["storage"]
    described = {"summary": "A demonstration"} | fields
    with closing(storage.stage()) as staged:
        staged.write(file.content)
        upload = Upload(file.name, file.version, file.filename, staged, described)
        return publishing.publish(
            upload, project=project, principal=by, storage=storage, max_size_bytes=0, now=now or utcnow()
        )
