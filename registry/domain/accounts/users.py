"""Creating, changing, finding, blocking, and deleting users."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import EllipsisType

from sqlalchemy import func, or_, select

from registry.database import AdvisoryLock, db, lock, transaction, utcnow
from registry.domain import audit, namespaces
from registry.domain.access import Principal
from registry.domain.accounts import passwords, sessions
from registry.domain.changes import Changes
from registry.errors import AlreadyTaken, Code, Conflict, Fault, Forbidden, InactiveUser, InvalidRecord, NotFound
from registry.models import (
    ColorScheme,
    InstanceSettings,
    Membership,
    Namespace,
    Role,
    User,
    UserNamespace,
    UserState,
    Visibility,
)


class StateChange(enum.StrEnum):
    """Changes of a user's state by administrators, named as in GitLab."""

    BLOCK = "block"
    UNBLOCK = "unblock"
    DEACTIVATE = "deactivate"
    ACTIVATE = "activate"


# The states before and after each change.
TRANSITIONS = {
    StateChange.BLOCK: (UserState.ACTIVE, UserState.BLOCKED),
    StateChange.UNBLOCK: (UserState.BLOCKED, UserState.ACTIVE),
    StateChange.DEACTIVATE: (UserState.ACTIVE, UserState.DEACTIVATED),
    StateChange.ACTIVATE: (UserState.DEACTIVATED, UserState.ACTIVE),
}
LONGEST_TEXTS = {"bio": 255, "note": 10_000}
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")


@dataclass(frozen=True)
class UserDetails(Changes):
    """Attributes that administrators can set when creating a user, and later."""

    is_admin: bool | EllipsisType = ...
    is_external: bool | EllipsisType = ...
    private_profile: bool | EllipsisType = ...
    can_create_group: bool | EllipsisType = ...
    projects_limit: int | EllipsisType = ...
    bio: str | EllipsisType = ...
    note: str | EllipsisType = ...


@dataclass(frozen=True)
class UserChanges(UserDetails):
    """Changes to a user."""

    username: str | EllipsisType = ...
    email: str | EllipsisType = ...
    name: str | EllipsisType = ...


NO_DETAILS = UserDetails()


def create_user(
    *,
    username: str,
    email: str,
    name: str,
    password: str | None,
    by: audit.Author,
    must_change_password: bool = False,
    confirmed: bool = True,
    details: UserDetails = NO_DETAILS,
) -> User:
    """Create an active user with a personal namespace at the user name; takes ``AdvisoryLock.TREE``.

    :param password: in plain text; with ``None``, the user cannot sign in with one until it is set.
    :param confirmed: whether the e-mail address is confirmed.
    :param details: ``can_create_group`` defaults to the instance setting.
    :raises AlreadyTaken: only the user name or e-mail address is wrong, as others have it.
    :raises InvalidRecord: a value is invalid; errors are listed by field.
    """
    if details.can_create_group is ...:
        details = replace(details, can_create_group=InstanceSettings.current().can_create_group)
    user = User(
        username=username, username_key=username.lower(), email=email, email_key=email.lower(), name=name.strip(),
        must_change_password=must_change_password, confirmed_at=utcnow() if confirmed else None,
        created_by_id=by.user_id, **details.given(),
    )  # fmt: skip
    _refuse_invalid(user, details, password, by=by)  # an early check, before the slow password hashing
    if password is not None:
        user.password_hash = passwords.hashed(password)
    with transaction(lock=AdvisoryLock.TREE) as session:
        _refuse_taken(_taken(user))
        session.add(user)
        session.flush()
        space = UserNamespace(
            path=username, name=user.name, visibility=Visibility.PUBLIC, user_id=user.id, creator_id=user.id
        )
        namespaces.place(space, parent=None, by=by)
        session.add(Membership(namespace_id=space.id, user_id=user.id, role=Role.OWNER))
        audit.record(by, "user_created", user.username)
    return user


def change_user(
    user: User, changes: UserChanges, *, password: str | None = None, confirmed: bool = True, by: audit.Author
) -> User:
    """Change a user; a new user name renames the personal namespace with all its projects.

    Takes ``AdvisoryLock.TREE``, as paths change, and one administrator must remain.

    :param confirmed: whether a new e-mail address is confirmed, as it is if an administrator sets it.
    :raises AlreadyTaken: only the user name or e-mail address is wrong, as others have it.
    :raises Forbidden: the user is the last active administrator.
    :raises InvalidRecord: a value is invalid.
    """
    # Hashed before the lock is taken, for which others wait; a bad password is refused after all other values.
    hashed = passwords.hashed(password) if password is not None and not passwords.faults(password) else None
    with transaction(lock=AdvisoryLock.TREE):
        lock(user)
        if changes.is_admin is False:
            refuse_last_administrator(user)
        before = changes.standing(user)
        changes.apply_to(user)
        if user.email.lower() != user.email_key:
            user.confirmed_at = utcnow() if confirmed else None
        user.username_key, user.email_key = user.username.lower(), user.email.lower()
        with db.session.no_autoflush:
            _refuse_invalid(user, changes, None, by=by)
        if password is not None:
            passwords.refuse_bad(password)
            passwords.replace(user, hashed, by=by)
        if changes.username is not ... or changes.name is not ...:
            space = personal_namespace(user)
            space.name = user.name
            namespaces.rename(space, path=user.username, by=by)
        audit.record_change(by, "user_changed", user.username, None, before, changes.standing(user))
    return user


def can_have_email(user: User | None, email: str) -> bool:
    """Return whether a text is an e-mail address that no other user has."""
    if not _is_email(email):
        return False
    others = select(User.id).where(User.email_key == email.lower())
    if user is not None:
        others = others.where(User.id != user.id)
    return db.session.scalar(others) is None


def confirm_email(user: User, *, by: audit.Author) -> None:
    """Confirm that the e-mail address is the user's, so that others find the user by it. Takes no lock."""
    with transaction():
        user.confirmed_at = utcnow()
        audit.record(by, "user_email_confirmed", user.username, email=user.email)


def change_preferences(user: User, *, language: str, color_scheme: ColorScheme) -> None:
    """Set the language and color scheme of pages; an empty language means that of the browser.

    Takes no lock: of two concurrent changes, the later wins.
    """
    with transaction(changes_answers=False):
        user.preferred_language, user.color_scheme = language, color_scheme


def verify_password(login: str, password: str) -> User | None:
    """Return the active user with this login and password, or ``None``; both take the same time.

    :raises InactiveUser: the password is right, but the user is blocked or deactivated.
    """
    user = by_login(login)
    if not passwords.is_password_of(user, password) or user is None:
        return None
    refuse_inactive(user)
    return user


def refuse_inactive(user: User) -> None:
    """Refuse a user who is not active.

    :raises InactiveUser: the user is blocked or deactivated.
    """
    if user.state is not UserState.ACTIVE:
        raise InactiveUser(Code.USER_BLOCKED if user.state is UserState.BLOCKED else Code.USER_DEACTIVATED)


def by_login(login: str) -> User | None:
    """Return the user with this user name or e-mail address (case-insensitive), or ``None``."""
    key = login.strip().lower().replace("\x00", " ")  # columns cannot store NUL, and no login contains a space
    return db.session.scalar(select(User).where(or_(User.username_key == key, User.email_key == key)))


def by_name_or_confirmed_email(text: str) -> User | None:
    """Return the user whom others can find by this text: by user name, or by an e-mail address that is confirmed."""
    user = by_login(text)
    if user is not None and user.username_key != text.strip().lower() and user.confirmed_at is None:
        return None
    return user


def find_user(reference: str) -> User:
    """Return the user with this ID (all digits) or user name (case-insensitive).

    :raises NotFound: there is no such user.
    """
    user = by_reference(reference)
    if user is None:
        raise NotFound("User")
    return user


def by_ids(ids: Iterable[int | None]) -> dict[int, User]:
    """Return users by ID, in one statement."""
    found = db.session.scalars(select(User).where(User.id.in_({id_ for id_ in ids if id_ is not None})))
    return {user.id: user for user in found}


def personal_namespace_ids(users: Iterable[User]) -> dict[int, int]:
    """Return the IDs of users' personal namespaces by user ID, in one statement."""
    rows = db.session.execute(
        select(UserNamespace.user_id, UserNamespace.id).where(UserNamespace.user_id.in_([user.id for user in users]))
    )
    return {user_id: namespace_id for user_id, namespace_id in rows if user_id is not None}


def owners(namespace_ids: Iterable[int | None]) -> dict[int, User]:
    """Return the owners of personal namespaces by namespace ID, in one statement."""
    rows = db.session.execute(
        select(UserNamespace.id, User)
        .join(User, User.id == UserNamespace.user_id)
        .where(UserNamespace.id.in_({id_ for id_ in namespace_ids if id_ is not None}))
    )
    return {row[0]: row[1] for row in rows}


def by_reference(reference: str) -> User | None:
    """Return the user with this ID (all digits) or user name (case-insensitive), or ``None``."""
    if reference.isascii() and reference.isdigit():
        return db.session.get(User, int(reference)) if len(reference) < 10 else None
    return _by_username(reference)


def find_username(username: str) -> User:
    """Return the user with this user name, which can be all digits.

    :raises NotFound: there is no such user.
    """
    user = _by_username(username)
    if user is None:
        raise NotFound("User")
    return user


def _by_username(username: str) -> User | None:
    if "\x00" in username:  # columns cannot store it
        return None
    return db.session.scalar(select(User).where(User.username_key == username.lower()))


def personal_namespace(user: User) -> UserNamespace:
    return db.session.scalars(select(UserNamespace).where(UserNamespace.user_id == user.id)).one()


def shows_profile(user: User, viewer: Principal) -> bool:
    """Return whether the viewer can see the profile and the projects of a user, not only the name."""
    if viewer.is_admin or viewer.user_id == user.id:
        return True
    return user.is_active and not user.private_profile


def change_state(user: User, change: StateChange, *, by: audit.Author) -> None:
    """Block, unblock, deactivate, or activate a user; this applies to tokens from the next request on.

    Sessions of a user who is no longer active end for good.

    Takes ``AdvisoryLock.TREE``, as one administrator must remain.

    :raises Forbidden: the current state does not allow the change, or the user is the last active administrator.
    """
    before, after = TRANSITIONS[change]
    with transaction(lock=AdvisoryLock.TREE):
        lock(user)
        if user.state is not before:
            raise Forbidden(Code.WRONG_USER_STATE, state=user.state, wanted=after)
        if after is not UserState.ACTIVE:
            refuse_last_administrator(user)
            sessions.end_all(user)
        user.state = after
        audit.record(by, f"user_{after}", user.username)


def delete_user(user: User, *, by: audit.Author) -> None:
    """Delete a user with the personal namespace, its projects, and all tokens; packages published elsewhere are kept.

    Takes ``AdvisoryLock.TREE``, as one administrator and an Owner of each group must remain.

    :raises Conflict: the user is the only Owner of a group.
    :raises Forbidden: the user is the last active administrator.
    """
    with transaction(lock=AdvisoryLock.TREE) as session:
        lock(user)
        refuse_last_administrator(user)
        owned = select(Membership).join(Namespace).where(
            Membership.user_id == user.id, Membership.role == Role.OWNER, Namespace.kind == "group"
        )  # fmt: skip
        for membership in session.scalars(owned, execution_options={"populate_existing": True}):
            if namespaces.is_last_owner(membership):
                raise Conflict(Code.SOLE_OWNER)
        audit.record(by, "user_deleted", user.username)
        namespaces.give_up_deleted(personal_namespace(user), by=by)
        session.delete(user)


def refuse_last_administrator(user: User) -> None:
    """Refuse to remove the last active administrator.

    :raises Forbidden: the user is the last active administrator.
    """
    if is_last_administrator(user):
        raise Forbidden(Code.LAST_ADMINISTRATOR)


def is_last_administrator(user: User) -> bool:
    """Return whether a user is the last active administrator."""
    if not user.is_admin or not user.is_active:
        return False
    others = db.session.scalar(
        select(func.count(User.id)).where(User.is_admin, User.state == UserState.ACTIVE, User.id != user.id)
    )
    return not others


def _is_email(text: str) -> bool:
    return len(text) <= 255 and _EMAIL.fullmatch(text) is not None


def _refuse_invalid(user: User, changes: UserDetails, password: str | None, *, by: audit.Author) -> None:
    """Refuse a user with all that is invalid or taken at once.

    :param password: of a new user.
    :raises AlreadyTaken: everything is valid, but others have the user name or e-mail address.
    :raises InvalidRecord: a value is invalid, or the user name is kept for another user.
    """
    errors: dict[str, list[Fault]] = {}
    if password is not None and (of_password := passwords.faults(password)):
        errors["password"] = of_password
    if of_username := namespaces.path_errors(user.username, top_level=True) or _kept(user, by):
        errors["username"] = of_username
    if not _is_email(user.email):
        errors["email"] = [Fault(Code.INVALID)]
    if name_errors := namespaces.name_errors(user.name):
        errors["name"] = name_errors
    for field, longest in LONGEST_TEXTS.items():
        if len(str(changes.given().get(field, ""))) > longest:
            errors[field] = [Fault(Code.TOO_LONG, maximum=longest)]
    taken = _taken(user, besides=errors)
    if errors:
        raise InvalidRecord(errors | {field: [Fault(code)] for field, code in taken.items()})
    _refuse_taken(taken)


def _kept(user: User, by: audit.Author) -> list[Fault]:
    """Return the error of a user name that is kept for those who could publish under it."""
    space = None if user.id is None else personal_namespace(user)
    return namespaces.kept(user.username, None if space is None else space.id, None, by=by)


def _refuse_taken(taken: Mapping[str, Code]) -> None:
    if taken:
        raise AlreadyTaken(taken)


def _taken(user: User, besides: Collection[str] = ()) -> dict[str, Code]:
    """Return the fields whose values another user or namespace has, besides those that are refused anyway."""
    others = select(User.id).where(User.id != (user.id or 0))
    found = {}
    if "email" not in besides and db.session.scalar(others.where(User.email_key == user.email_key)):
        found["email"] = Code.EMAIL_TAKEN
    if "username" in besides:
        return found
    space = db.session.scalar(select(Namespace).where(Namespace.full_path_key == user.username_key))
    own_space = isinstance(space, UserNamespace) and user.id is not None and space.user_id == user.id
    if (space is not None and not own_space) or db.session.scalar(others.where(User.username_key == user.username_key)):
        found["username"] = Code.USERNAME_TAKEN
    return found
