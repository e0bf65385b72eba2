"""The tables of the store as the newest migration leaves them, for SQLAlchemy Core. A test holds the two equal.

`metrics` is one narrow table, primary key (run, name, step), so one curve lies together on disk: a run's last points and
a whole curve are each one short walk. `run` is `runs.number`, an integer that is never used twice.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, MetaData, String, Table, Text

metadata = MetaData()

ticket = Table("ticket", metadata, Column("id", BigInteger, primary_key=True), Column("value", BigInteger, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", Text, nullable=False),  # JSON
    Column("tags", Text, nullable=False),  # JSON list
    Column("notes", Text, nullable=False),
    Column("position", BigInteger, nullable=False),  # order in the queue
    Column("version", BigInteger, nullable=False),  # the ticket of the last change
    Column("attempt", BigInteger, nullable=False),  # how often it was started; fences off workers given up for dead
    Column("parent", String(16)),  # the run that it duplicates
    Column("created", Double, nullable=False),  # this and every time: seconds since 1970, UTC
    Column("started", Double),
    Column("ended", Double),
    Column("step", BigInteger, nullable=False),
    Column("total_steps", BigInteger),
    Column("slot", BigInteger),
    Column("pid", BigInteger),
    Column("pid_create_time", Double),
    Column("mark", Text),  # identity of the process among all that ever had its pid (processes.py)
    Column("place", Text),  # where that pid means something: boot and pid namespace
    Column("host", Text),
    Column("heartbeat", Double),
    Column("error", Text),  # a sentence, with its key and values where it has some (lab.design.plain.message.packed); so is the advice
    Column("advice", Text),
    Column("log_tail", Text),
    Column("exit_code", BigInteger),
    Column("result", Text),  # JSON
    Column("needs", BigInteger),  # bytes at the peak, as the plan says
    Column("devices", BigInteger),  # that the run trains on together; NULL: one
    Column("held", Text),  # the slots of a run that holds several, as in 0,3
    Column("binned", Double),  # when it was put into the bin; NULL: it is not in it
    Column("phase", String(16)),  # what its worker is busy with: see records.PHASES
    Column("phase_share", Double),  # of that phase which is done, 0 to 1; NULL: not known
)

metrics = Table(
    "metrics",
    metadata,
    Column("run", BigInteger, primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("value", Double),  # NULL stands for not-a-number
    Column("time", Double, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("run", BigInteger, nullable=False),
    Column("time", Double, nullable=False),
    Column("state", String(16), nullable=False),
    Column("message", Text, nullable=False),
)

lab = Table("lab", metadata, Column("number", BigInteger, primary_key=True), Column("id", Text, nullable=False), Column("place", Text, nullable=False))

views = Table("views", metadata, Column("name", String(80), primary_key=True), Column("document", Text, nullable=False))  # of the table of runs; JSON

deleted = Table("deleted", metadata, Column("number", BigInteger, primary_key=True), Column("id", Text, nullable=False))  # with files and metrics to remove
