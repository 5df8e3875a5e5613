"""Every error a user can act on: each message says what is wrong, what was expected and found, and the next step.

ConvergenceError
├── LakeError           a table cannot be opened, read or written
│   ├── TableMissing      it has never been written
│   ├── Erased            its rows were removed for good, on request
│   ├── InvalidName       a table name or partition key that could leave the lake
│   ├── SchemaConflict    a column changed its type
│   └── ConcurrentWrite   somebody else committed the same partition first
├── ContractBroken      rows break the contract of their table
├── ArrivalError        a topic's messages cannot be landed in order
│   └── BrokerUnreachable a broker does not answer
├── ObjectError         an object of the object store cannot be kept, fetched or decoded
│   ├── FetchRefused      its address may not be followed, or nothing usable is there
│   └── ImageRefused      it is no image that can be decoded within limits
├── SearchError         an index cannot be built, opened or asked
│   ├── IndexMissing      no such snapshot, or it was removed, or none is live
│   ├── IndexConflict     another index went live in between
│   └── EncoderMismatch   vectors of another model than the index holds
├── ServiceError        a server of ours cannot be installed, started or stopped
├── ModelError          a model that cannot be loaded, or none is promoted
│   └── EncoderError      an encoder does not come out of its checkpoint, or does not fit what it is given
├── FileRefused         a file that somebody named is not what was asked for
├── DeclarationError    a use case declares what it cannot have
└── SettingsError       the environment names something that is not there
"""

from convergence.privacy.masking import without_secrets


class ConvergenceError(Exception):
    """Base of the platform's own errors; the command line prints its text and no traceback.

    Its text holds no secret, whatever it was made from: what a library says is often repeated in it.
    """

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class LakeError(ConvergenceError):
    """A table cannot be opened, read or written."""


class TableMissing(LakeError):
    """The table has never been written."""


class Erased(LakeError):
    """The rows asked for held a data subject who was erased since; a certificate says when."""


class InvalidName(LakeError):
    """A table name or partition key that could leave the lake."""


class SchemaConflict(LakeError):
    """A column changed its type between two writes."""


class ConcurrentWrite(LakeError):
    """Another writer committed the same partition after this one opened the table."""


class ContractBroken(ConvergenceError):
    """Rows break the contract of their table."""


class ArrivalError(ConvergenceError):
    """A topic's messages cannot be landed in order."""


class BrokerUnreachable(ArrivalError):
    """A broker does not answer."""


class ObjectError(ConvergenceError):
    """An object is not in the store, was damaged there, or its name is no name."""


class FetchRefused(ObjectError):
    """The address of an object may not be followed, or nothing usable is there; `reason` says which, in few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the object was not fetched: {reason}. Correct the address, or allow its host.")
        self.reason = reason


class ImageRefused(ObjectError):
    """No image that can be decoded within limits; `reason` says why, in few words that are the same each time."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the image was refused: {reason}. Send a whole JPEG, PNG, WebP or GIF within the limits.")
        self.reason = reason


class ModelError(ConvergenceError):
    """A model cannot be loaded, or none is promoted for the day asked for."""


class EncoderError(ModelError):
    """An encoder does not come out of its checkpoint, or does not fit what it is given."""


class SearchError(ConvergenceError):
    """A query, or the parts that answer it, do not fit each other."""


class IndexMissing(SearchError):
    """There is no such snapshot of an index, or none is live."""


class IndexConflict(SearchError):
    """Another index went live after the caller had looked."""


class EncoderMismatch(SearchError):
    """An encoder whose vectors are not those that the index holds."""


class ServiceError(ConvergenceError):
    """A server of ours cannot be installed, started or stopped."""


class FileRefused(ConvergenceError):
    """A file that somebody named is not what was asked for."""


class DeclarationError(ConvergenceError):
    """A use case declares what it cannot have."""


class SettingsError(ConvergenceError):
    """The environment names something that is not there."""
