"""The one form of an answer that is an error."""

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse


def problem(
    status: int, code: str, message: str, following: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error as every route gives it."""
    return JSONResponse({"error": {"code": code, "message": message, "next": following}}, status, headers)


class Refused(HTTPException):
    """An answer of another status: a stable code, what is wrong, and what to do."""

    def __init__(
        self, status: int, code: str, message: str, following: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, message)
        self.response = problem(status, code, message, following, headers)
