"""Which lab a store is (a copy of it is another), which runs were deleted and still have files, and places without a host's name.

`lab` has one row. A host's name may change while its workers live, and two machines may have the same: boot and pid namespace say where
a pid means something.
"""

from __future__ import annotations

STATEMENTS = [
    "CREATE TABLE lab (number BIGINT NOT NULL PRIMARY KEY, id TEXT NOT NULL, place TEXT NOT NULL)",
    "CREATE TABLE deleted (number BIGINT NOT NULL PRIMARY KEY, id TEXT NOT NULL)",
    "UPDATE runs SET place = substr(place, length(host) + 2) WHERE host IS NOT NULL AND substr(place, 1, length(host) + 1) = host || ' '",
]
