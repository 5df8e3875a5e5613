"""What Dagster is told of an error. Its event log is kept for good, so no row may be quoted in it.

A platform error is written so; the text of any other may quote a value, and values stand in quotes or are numbers.
"""

import re
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import dagster as dg

from convergence.errors import ConcurrentWrite, ConvergenceError

_LONGEST = 300  # characters of a foreign error's text
_QUOTED = re.compile(r"""(?<!\w)(["'])(.*?)(?<!\\)\1""", re.DOTALL)
_LOOSE = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.-]+"  # an address
    r"|\b[A-Z]{2}\d{2}[ ]?[A-Z0-9 ]{10,30}\b"  # an IBAN
    r"|\+?\d[\d ()/.-]{4,}\d|\d{3,}"  # a telephone, card or customer number
)


def masked(text: str, known: Collection[str] = ()) -> str:
    """A foreign error's first lines without what may be a value: quoted text that is no `known` name, long numbers."""
    quoted = _QUOTED.sub(lambda found: found[0] if found[2] in known else f"{found[1]}…{found[1]}", text)
    return _LOOSE.sub("…", quoted)[:_LONGEST]


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
        said = masked(str(error), known())
        raise dg.Failure(f"{type(error).__name__}: {said}\nValues are masked (…). At {where[:1000]}") from None
