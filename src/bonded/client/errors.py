"""Everything that can go wrong on the client's side, each a sentence that says what to do next."""

from __future__ import annotations


class ClientError(Exception):
    """What happened, and in *hint* what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The sentence, then the hint on lines of its own."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class Misconfigured(ClientError):
    """A setting, a file or an argument says something that cannot be."""


class NotSignedIn(ClientError):
    """No account is active, or nothing is stored for it, or its key is refused."""


class Unreachable(ClientError):
    """Nobody answered at the server's URL, or not in the API's language."""


class Refused(ClientError):
    """The server answered with an error of its own: Google's `code`, `status` and message.

    *path* is what was asked for; empty if the error came another way.
    """

    def __init__(
        self, code: int, status: str, message: str, *, hint: str = "", path: str = ""
    ) -> None:
        super().__init__(f"{status}: {message}", hint=hint)
        self.path = path
        self.code = code
        self.status = status
