"""Why a finding matters: the part of the story that an error's own message is too short for."""

from collections.abc import Mapping
from typing import Final

_OTHERS_GO_ON = "until it is mended this target stays where it is and the source keeps WAL for it; the others go on"
_GAP = "streaming on would leave rows out without a word"

REASONS: Final[Mapping[str, str]] = {
    "WS1008": "a key that is not known would be ignored: a typo could drop a setting in silence",
    "WS1020": "each change would be written back to where it came from, and come again",
    "WS2001": "nothing can be read before the server lets this role in",
    "WS2002": "nothing can be read before the server answers; run keeps trying",
    "WS2101": "without it the WAL does not say which row a change belongs to",
    "WS2102": "older servers lack messages and settings that exactness rests on",
    "WS2103": "slots and streams are open to roles with the REPLICATION attribute only",
    "WS2201": "a name that matches nothing is more likely a typo than a wish",
    "WS2203": "the server would refuse the application's own UPDATEs and DELETEs once the table is published",
    "WS2204": "a filter on other columns makes the server refuse the application's own UPDATEs",
    "WS2205": "the server refuses the application's own UPDATEs when a column of the identity is not published",
    "WS2301": "changing somebody else's publication would change what its other readers get",
    "WS2302": "only its owner may change a publication, and only the owner of a table may add it",
    "WS2402": "the changes in that WAL are gone: no target can go on from where it stands",
    "WS2404": "the stream needs a slot of its own, and each snapshot one more for a while",
    "WS2901": "the stream needs a walsender, and each snapshot one more for a while",
    "WS2902": "a target that is away for longer than this loses its place and needs a new snapshot; all of them do",
    "WS2903": "its WAL is gone then, and every target needs a new snapshot",
    "WS2904": "the snapshot reads the tables as this role",
    "WS2905": "the snapshot refuses to read through a policy that could hide rows",
    "WS2906": "publication, registry and slot are made on the primary",
    "WS4101": _OTHERS_GO_ON,
    "WS4203": "a value would have nowhere to go",
    "WS4204": "a value could be cut, rounded or refused there",
    "WS4205": "every inserted row would be refused",
    "WS4206": "without it a row cannot be found by its key, and two could stand for one",
    "WS4901": "the target's triggers and foreign keys fire for replicated rows: they may refuse or change them",
    "WS4902": _OTHERS_GO_ON,
    "WS4903": _OTHERS_GO_ON,
    "WS4904": "the first snapshot would wait for its own reader, with the table locked against the application",
    "WS5001": _GAP,
    "WS5002": _GAP,
    "WS5003": _GAP,
    "WS5005": _GAP,
    "WS5006": _GAP,
    "WS5007": _GAP,
    "WS5008": "a target that is left out by mistake would be forgotten, or hold WAL on the source for ever",
    "WS5009": _GAP,
    "WS5101": "the registry is how no target is forgotten: the slot waits for each that stands there",
    "WS7005": "whoever reaches the port reads the names of tables, targets and hosts",
}

REMEDIES: Final[Mapping[str, str]] = {
    "WS2001": "correct source.dsn, or pg_hba.conf and the role on the server",
    "WS2002": "see that the server is up, that source.dsn names it, and that nothing between refuses the connection",
    "WS2003": "the server's log has the statement",
}
"""Where `run` sends people to ``walsync check``, it has to say more itself."""
