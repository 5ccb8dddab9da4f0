"""The system's own keyring, for the secrets of people's sign-ins: never a backend like ours."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bonded.client.accounts import Account

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

# Where secrets are kept by the session of whoever is logged in. Others, such as plain files, only
# if somebody chose them on purpose.
_OF_SYSTEMS = ("SecretService", "libsecret", "kwallet", "macOS", "Windows")
_PACKAGE = "keyring.backends."
# Backends that fetch tokens rather than keep passwords, Google's and ours, or that keep nothing.
_KEEP_NOTHING = ("bonded.", "keyrings.gauth", f"{_PACKAGE}fail", f"{_PACKAGE}null")


def keep_secret(account: Account, secret: str) -> bool:
    """Keep the secret of *account* in the system's keyring, and say whether it did."""
    backend = _find_backend()
    if backend is None:
        return False
    # A keyring may be locked, or gone with the desktop it belongs to: there is always the file.
    with suppress(Exception):
        backend.set_password(_service_of(account), account.email, secret)
        return backend.get_password(_service_of(account), account.email) == secret
    return False


def find_secret(account: Account) -> str | None:
    """Return the secret of *account*, if the system's keyring gives it."""
    backend = _find_backend()
    with suppress(Exception):
        return backend.get_password(_service_of(account), account.email) if backend else None
    return None


def forget_secret(account: Account) -> None:
    """Remove the secret of *account*, if it is there."""
    backend = _find_backend()
    with suppress(Exception):
        if backend:
            backend.delete_password(_service_of(account), account.email)


def _service_of(account: Account) -> str:
    return f"bonded sign-in to {account.server}"


def _find_backend() -> KeyringBackend | None:
    """Return the backend that was chosen, else the best one of the system."""
    try:
        from keyring import backend, core  # noqa: PLC0415 - optional, and slow to import
        from keyring.backends.chainer import ChainerBackend  # noqa: PLC0415
    except ImportError:
        return None
    # A backend that does not load is one that cannot be used.
    with suppress(Exception):
        chosen = core.load_env() or core.load_config()
        if chosen and not isinstance(chosen, ChainerBackend):
            return None if _name(chosen).startswith(_KEEP_NOTHING) else chosen
    with suppress(Exception):
        modules = tuple(f"{_PACKAGE}{name}." for name in _OF_SYSTEMS)
        found = [each for each in backend.get_all_keyring() if _name(each).startswith(modules)]
        return max(found, key=lambda each: float(each.priority), default=None)
    return None


def _name(backend: KeyringBackend) -> str:
    return f"{type(backend).__module__}.{type(backend).__qualname__}"
