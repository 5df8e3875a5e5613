"""What Dagster is told of an error. Its event log is kept for good, so no row may be quoted in it, and no secret.

A platform error is written so, and keeps its words but for secrets; the text of any other may quote a value.
"""

import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import dagster as dg
from dagster_shared.error import DagsterError, SerializableErrorInfo

from convergence.errors import ConcurrentWrite, ConvergenceError
from convergence.privacy.masking import MASK, foreign, without_secrets

_ABOUT_CODE = (ConvergenceError, DagsterError, ImportError, NameError, SyntaxError)  # none of them quotes a row


@contextmanager
def failures(known: Callable[[], Collection[str]] = frozenset) -> Iterator[None]:
    """Show a platform error as what it says, any other by kind, place and masked text; `known`: names of columns."""
    try:
        yield
    except ConvergenceError as error:
        raise dg.Failure(
            f"{type(error).__name__}: {error}", allow_retries=isinstance(error, ConcurrentWrite)
        ) from error
    except (dg.DagsterError, dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        frames = reversed([*traceback.walk_tb(error.__traceback__)])
        where = " < ".join(f"{f.f_globals.get('__name__')}:{line} {f.f_code.co_name}" for f, line in frames)
        said = foreign(str(error), known())
        raise dg.Failure(f"{type(error).__name__}: {said}\nValues are masked ({MASK}). At {where[:1000]}") from None


def _keep_masked() -> None:
    """Have Dagster write every error masked: also one that was raised outside of `failures`, and each one's causes.

    Runs, ticks of sensors and the UI get what happened from this one function. Should Dagster cease to use it, the
    tests that look for canaries in all that it keeps say so.
    """
    written = SerializableErrorInfo.from_traceback.__func__  # pyright: ignore[reportFunctionMemberAccess]

    def masked(cls: type[SerializableErrorInfo], error: traceback.TracebackException) -> SerializableErrorInfo:
        found = written(cls, error)
        kind = getattr(error, "_exc_type", None) or error.exc_type or Exception  # from Python 3.13 on, the first
        if issubclass(kind, _ABOUT_CODE) or kind is dg.Failure:
            return found._replace(message=without_secrets(found.message))
        begin, colon, text = found.message.partition(": ")
        return found._replace(message=f"{begin}{colon}{foreign(text.rstrip())}\n" if colon else f"{begin.rstrip()}\n")

    SerializableErrorInfo.from_traceback = classmethod(masked)  # pyright: ignore[reportAttributeAccessIssue]


_keep_masked()
