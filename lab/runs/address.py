"""What may be shown of the database's address: host and database, or the file. Never who opens it, nor with what password.

Drivers quote the user, the address and, of one that was written wrongly, parts of the password. `keep_quiet` takes that out of their errors where they
arise, so that no sentence, traceback or log has to.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL

PARTS = re.compile(r"""(?:\w[\w+.-]*://)[^\s'")]+""")  # an address in a sentence
WHO = re.compile(r"""\b(user|role|username|password)(\s+name)?([ =:]+)("[^"]*"|'[^']*'|\S+)""", re.IGNORECASE)
SECRET_OPTIONS = ("user", "password", "passfile", "sslpassword", "sslkey", "service", "key")
SHORTEST = 3  # letters of a piece of a password that is looked for by itself


def place_of(address: URL) -> str:
    """The database and its host, or the file."""
    if address.get_backend_name() == "sqlite":
        return str(address.database)
    return f"{address.database or 'of no name'} on {(address.host or 'this machine').rpartition('@')[2]}"


def secrets_of(address: URL | str) -> list[str]:
    """What of an address must not be shown: the password and its pieces as a wrong reading would cut them, and options that say who."""
    if isinstance(address, URL):
        found = [str(address.password or ""), *(str(value) for name, value in address.query.items() if name in SECRET_OPTIONS)]
        found += (address.host or "").split("@")[:-1]
    else:
        front = address.partition("://")[2].rpartition("@")[0]
        found = [front.partition(":")[2], *(value for name, value in re.findall(r"[?&](\w+)=([^&]*)", address) if name in SECRET_OPTIONS)]
    found += [piece for whole in list(found) for piece in re.split(r"[/:@\[\]?#]", whole)]
    return sorted({text for one in found for text in (one, unquote(one)) if len(text) >= SHORTEST}, key=len, reverse=True)


def scrubbed(words: str, address: URL | str) -> str:
    """A driver's words without anything that must not be shown."""
    words = WHO.sub(r"\1\2\3…", PARTS.sub("(address)", words))
    for secret in secrets_of(address):
        words = words.replace(secret, "…")
    return words


def keep_quiet(engine: Engine) -> None:
    """Scrub every error of an engine's driver, before anybody sees it."""
    address = engine.url

    @event.listens_for(engine, "handle_error")
    def _scrub(context: Any) -> None:
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None:
                error.args = tuple(scrubbed(one, address) if isinstance(one, str) else one for one in error.args)
