"""Users who sign in with an account of the identity provider.

A user is found by issuer and subject alone. E-mail addresses and user names of the provider can be given to another
person, or be chosen by their owner, and never lead to an existing user.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from registry.database import AdvisoryLock, db, lock, transaction
from registry.domain import audit, namespaces
from registry.domain.access import Principal
from registry.domain.accounts import first_run, sessions, sign_in, users
from registry.domain.accounts.users import UserChanges
from registry.domain.oidc import single_use
from registry.domain.single_sign_on import provider_roles
from registry.domain.single_sign_on.persons import Person
from registry.errors import BadRequest, Code, Conflict, Forbidden, InvalidRecord, RecordNotFound
from registry.models import SignInMethod, User, UserIdentity

MOST_NUMBERS = 1000  # tried after a user name that is taken
WITHOUT_EMAIL = "without-email.invalid"  # a domain that no mail reaches (RFC 2606, section 2)


def sign_in_person(
    person: Person, *, creates_users: bool, admin_group: str | None = None, address: str, now: datetime
) -> User:
    """Return the user of a person whom the provider has signed in, with name, e-mail address, and roles kept current.

    Takes ``AdvisoryLock.TREE``, as the name of a user is that of the personal namespace.

    :param creates_users: whether a user is created for a person without one.
    :param admin_group: the group of the provider whose people are administrators; ``None`` if none decides on that.
    :raises Forbidden: the person has no user, or has roles by groups that the provider does not list.
    :raises InactiveUser: the user is blocked or deactivated; nothing of the user changes.
    """
    author = audit.NamedAuthor("OpenID Connect", address)
    if person.groups is None and (admin_group is not None or provider_roles.are_used()):
        raise Forbidden(Code.GROUPS_NOT_LISTED)
    user = _user_of(person) or (_created(person, author) if creates_users else None)
    if user is None:
        raise Forbidden(Code.NO_USER_OF_IDENTITY)
    with transaction(lock=AdvisoryLock.TREE):
        lock(user)
        if _user_of(person) is not user:  # unlinked in the meantime
            raise Forbidden(Code.NO_USER_OF_IDENTITY)
        users.refuse_inactive(user)
        _keep_current(user, person, author)
        _apply_groups(user, person.groups or frozenset(), admin_group, author)
        sign_in.note_sign_in(user, SignInMethod.OPENID_CONNECT, address=address, now=now)
    return user


def complete_once(state: str, *, until: datetime, now: datetime) -> None:
    """Record that a sign-in is being completed, so that a copy of the browser's cookie cannot complete it again.

    Takes no lock: the primary key lets one of several requests succeed.

    :param state: of the sign-in.
    :param until: when it expires.
    :raises BadRequest: it was completed before.
    """
    key = sha256(f"sign-in\n{state}".encode()).hexdigest()
    try:
        with transaction(changes_answers=False) as session:
            single_use.record(session, key, expires_at=until, now=now)
    except IntegrityError as error:
        raise BadRequest(Code.SIGN_IN_UNKNOWN) from error


def identity_of(user: User, issuer: str) -> UserIdentity | None:
    """Return the account of an issuer that a user is linked to."""
    return db.session.scalar(select(UserIdentity).where(_is_of(user, issuer)))


def identities_of(user: User) -> Sequence[UserIdentity]:
    """Return the accounts of all issuers that a user is linked to, ordered by issuer."""
    linked = select(UserIdentity).where(UserIdentity.user_id == user.id).order_by(UserIdentity.issuer)
    return db.session.scalars(linked).all()


def link(user: User, person: Person, *, by: audit.Author) -> None:
    """Link a user to an account of the provider, which replaces the one of the same issuer, and ends its roles.

    With an account that is replaced, all sessions of the user end: it may have begun them. Takes
    ``AdvisoryLock.TREE``: the account is not linked to another user in the meantime.

    :raises Conflict: it is linked to another user.
    """
    with transaction(lock=AdvisoryLock.TREE) as session:
        found = _user_of(person)
        if found is not None and found.id != user.id:
            raise Conflict(Code.IDENTITY_TAKEN)
        if found is None:
            namespaces.apply_provided_roles(user, {}, by=by)
            replaced: Any = session.execute(delete(UserIdentity).where(_is_of(user, person.issuer)))
            if replaced.rowcount:
                sessions.end_all(user)
            _add(user, person, by=by)


def unlink(user: User, issuer: str, current: str, *, by: Principal, now: datetime) -> None:
    """Remove the link of a user who provides the current password, and can sign in with it.

    Roles by groups of the provider end with it, as no sign-in there would take them back, and all sessions, which the
    account may have begun. Takes ``AdvisoryLock.SIGN_IN``, as for any entered password, and then
    ``AdvisoryLock.TREE``.

    :raises InvalidRecord: the password is wrong.
    :raises RecordNotFound: the user is not linked.
    :raises TooManyRequests: as for ``sign_in.sign_in``.
    """
    sign_in.require_password(user, current, by=by, now=now)
    with transaction(lock=AdvisoryLock.TREE) as session:
        found = identity_of(user, issuer)
        if found is None:
            raise RecordNotFound
        namespaces.apply_provided_roles(user, {}, by=by)
        session.delete(found)
        sessions.end_all(user)
        audit.record(by, "user_identity_unlinked", user.username, issuer=issuer, subject=found.subject)


def _is_of(user: User, issuer: str) -> ColumnElement[bool]:
    return and_(UserIdentity.user_id == user.id, UserIdentity.issuer == issuer)


def _user_of(person: Person) -> User | None:
    found = db.session.scalar(
        select(UserIdentity)
        .options(joinedload(UserIdentity.user))
        .where(UserIdentity.issuer == person.issuer, UserIdentity.subject == person.subject)
    )
    return None if found is None else found.user


def _add(user: User, person: Person, *, by: audit.Author) -> None:
    db.session.add(UserIdentity(user_id=user.id, issuer=person.issuer, subject=person.subject))
    db.session.flush()
    audit.record(by, "user_identity_linked", user.username, issuer=person.issuer, subject=person.subject)


def _created(person: Person, author: audit.Author) -> User:
    """Create a user without a password, or return the one that another request has created for the same person.

    Takes ``AdvisoryLock.TREE``.

    :raises Conflict: all user names that suit the person are taken.
    """
    for username in _usernames(person):
        try:
            with transaction(lock=AdvisoryLock.TREE):
                user = _user_of(person)
                if user is None:
                    user = _create(person, username, author)
                    _add(user, person, by=author)
                return user
        except (Conflict, InvalidRecord):  # the name is taken, or kept for another user
            continue
    raise Conflict(Code.USERNAME_TAKEN)


def _create(person: Person, username: str, author: audit.Author) -> User:
    has_email = users.can_have_email(None, person.email)
    return users.create_user(
        username=username,
        email=person.email if has_email else f"{username}-{secrets.token_hex(4)}@{WITHOUT_EMAIL}",
        name=username if namespaces.name_errors(person.name) else person.name,
        password=None,
        confirmed=has_email and person.is_email_verified,
        by=author,
    )


def _usernames(person: Person) -> Iterator[str]:
    """Yield user names that suit a person, the best first, then numbered ones."""
    derived = [namespaces.path_from(text).replace("..", ".")[:200] for text in person.usernames]
    usable = [name for name in derived if name and not namespaces.path_errors(name, top_level=True)]
    first = next((name for name in usable if name != first_run.USERNAME), "person")
    yield first
    for number in range(2, MOST_NUMBERS):
        yield f"{first}{number}"


def _keep_current(user: User, person: Person, author: audit.Author) -> None:
    """Take over the name and e-mail address of a person, unless the address is that of another user.

    An address that the provider has not verified is not confirmed, and never replaces one that is.
    """
    changes = UserChanges()
    if person.name and person.name != user.name and not namespaces.name_errors(person.name):
        changes = UserChanges(name=person.name)
    is_other = person.email.lower() != user.email_key
    if is_other and (person.is_email_verified or user.confirmed_at is None):
        if users.can_have_email(user, person.email):
            changes = UserChanges(name=changes.name, email=person.email)
    elif not is_other and person.is_email_verified and user.confirmed_at is None:
        users.confirm_email(user, by=author)
    if changes.given():
        users.change_user(user, changes, confirmed=person.is_email_verified, by=author)


def _apply_groups(user: User, groups: Collection[str], admin_group: str | None, author: audit.Author) -> None:
    """Apply the roles that follow from groups of the provider.

    ``root`` and the last active administrator remain administrators, so that the registry always has one.
    """
    namespaces.apply_provided_roles(user, provider_roles.roles_of(groups), by=author)
    is_admin = admin_group in groups
    if admin_group is None or user.is_admin == is_admin:
        return
    if is_admin or not (user.username_key == first_run.USERNAME or users.is_last_administrator(user)):
        users.change_user(user, UserChanges(is_admin=is_admin), by=author)
