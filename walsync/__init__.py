"""walsync: one Postgres replication slot into many databases, exactly once.

The folders are the steps of the data's path, in this order:

1. `source`       a slot's WAL frames come out, the confirmed LSN goes in
2. `pgoutput`     bytes -> messages
3. `transaction`  messages -> whole, committed transactions
4. `backlog`      what was read and is not yet durable everywhere, with a cursor per target
5. `target`       batches -> rows and a checkpoint in another database, in one transaction
6. `checkpoint`   what every target has acknowledged -> the LSN the slot may forget

`snapshot` makes the first copy. `pipeline` joins the steps: read it first.

As a library (docs/library.md): `decode`, `transactions`, `as_dict` and `renderer` work on bytes, and `stream` reads a
slot. The names below are imported when they are used: ``import walsync`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from walsync.errors import ConfigurationError, ProtocolError, SourceRefused, SourceUnavailable, WalsyncError
    from walsync.library.decoding import as_dict, decode, renderer, transactions
    from walsync.library.streaming import TransactionStream, stream
    from walsync.lsn import LSN
    from walsync.pgoutput.decoder import Decoder
    from walsync.pgoutput.message import LogicalMessage, Message
    from walsync.relation import Column, Relation, ReplicaIdentity
    from walsync.rendering.base import Renderer
    from walsync.row import UNCHANGED, Unchanged, Value, read_tuple
    from walsync.transaction.assembler import Assembler
    from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

__version__ = "0.1.0"

__all__ = [
    "LSN",
    "UNCHANGED",
    "Assembler",
    "Change",
    "Column",
    "ConfigurationError",
    "Decoder",
    "Delete",
    "Insert",
    "LogicalMessage",
    "Message",
    "ProtocolError",
    "Relation",
    "Renderer",
    "ReplicaIdentity",
    "SourceRefused",
    "SourceUnavailable",
    "Transaction",
    "TransactionStream",
    "Truncate",
    "Unchanged",
    "Update",
    "Value",
    "WalsyncError",
    "__version__",
    "as_dict",
    "decode",
    "read_tuple",
    "renderer",
    "stream",
    "transactions",
]

_PLACES: Final = {
    "errors": ("ConfigurationError", "ProtocolError", "SourceRefused", "SourceUnavailable", "WalsyncError"),
    "library.decoding": ("as_dict", "decode", "renderer", "transactions"),
    "library.streaming": ("TransactionStream", "stream"),
    "lsn": ("LSN",),
    "pgoutput.decoder": ("Decoder",),
    "pgoutput.message": ("LogicalMessage", "Message"),
    "relation": ("Column", "Relation", "ReplicaIdentity"),
    "rendering.base": ("Renderer",),
    "row": ("UNCHANGED", "Unchanged", "Value", "read_tuple"),
    "transaction.assembler": ("Assembler",),
    "transaction.change": ("Change", "Delete", "Insert", "Transaction", "Truncate", "Update"),
}
_MODULES: Final = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
