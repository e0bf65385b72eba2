"""What the web app is started with, read in one place for every way to start it: `python app.py`, `python -m lab serve`, `make run`, a notebook.

Each setting is a flag and a variable of the environment; the flag wins. `add_flags` declares them, `read` checks them.
"""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab.design.plain import installed
from lab.design.plain.refusal import Refusal
from lab.ui.door import hosts

SHORTEST_PASSWORD = 8
# flag, variable, usual value, help; a usual value of False makes it a switch, a tuple may be given several times (in the variable: commas)
FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    ("host", "LAB_HOST", "127.0.0.1", "address to listen on (LAB_HOST; default 127.0.0.1: this machine only); any other needs --auth or --anyone"),
    ("port", "LAB_PORT", "7860", "port (LAB_PORT; default 7860)"),
    ("home", "LAB_HOME", "", "where runs are kept (LAB_HOME; default ./lab-home)"),
    ("auth", "LAB_AUTH", "", "ask for a name and password: user:password (LAB_AUTH keeps it out of the list of processes)"),
    ("anyone", "LAB_ANYONE", False, "let everybody who reaches another address than this machine's own use the lab without a password (LAB_ANYONE=1)"),
    ("share", "LAB_SHARE", False, "also give it an address on the internet, through gradio's relay; needs --auth (LAB_SHARE=1)"),
    ("open-paths", "LAB_OPEN_PATHS", False, "let pages name models and data anywhere on this machine, not only under LAB_HOME and LAB_DATA (LAB_OPEN_PATHS=1)"),
    ("allow-host", "LAB_ALLOW_HOST", (), "a name that browsers may use for it, as a proxy's: lab.example.org or lab.example.org:8443; may be given several times (LAB_ALLOW_HOST)"),
    ("root-path", "LAB_ROOT_PATH", "", "the path that a proxy puts it under, as /lab (LAB_ROOT_PATH)"),
    ("mcp", "LAB_MCP", False, "also offer the verbs of the API to language models, as tools of the Model Context Protocol at /gradio_api/mcp (LAB_MCP=1; docs/api.md)"),
    ("push", "LAB_PUSH", False, "let the API, and with --mcp language models, push runs to the Hugging Face hub with this machine's token; pages may by themselves, where only its owner or who has the password reaches them (LAB_PUSH=1)"),
    ("proxy", "LAB_PROXY", (), "address or network of a proxy whose X-Forwarded-Host, -Proto and -For are believed, as 127.0.0.1; may be given several times (LAB_PROXY)"),
)  # fmt: skip
# variables of hosts (a Space, a container) that say the same, where neither the flag nor ours is given
ALSO: dict[str, tuple[str, ...]] = {"host": ("GRADIO_SERVER_NAME",), "port": ("GRADIO_SERVER_PORT", "PORT"), "root-path": ("GRADIO_ROOT_PATH",)}
STORAGE = Path("/data")  # where a Space keeps what outlives its sleep, if it was given storage
OWN_PASSWORD = (
    "This Space has no LAB_AUTH, so it made a password for as long as it runs: user {user}, password {password}. "
    "Set the secret LAB_AUTH=user:password to choose one, or the variable LAB_ANYONE=1 to let everybody in."
)


@dataclass(frozen=True)
class Settings:
    """Checked settings. `door`: (user, password) or None; `home`: "" for LAB_HOME; `root_path`: a path, or a whole address; `proxies`: networks.

    `notice`: what whoever starts the app must know, "" for nothing.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    home: str = ""
    door: tuple[str, str] | None = None
    share: bool = False
    open_paths: bool = False
    allow_hosts: tuple[str, ...] = ()
    root_path: str = ""
    mcp: bool = False
    proxies: tuple[str, ...] = ()
    notice: str = ""
    push: bool = False

    @property
    def ours(self) -> bool:
        """Whether nobody comes in but by a password, or from this very machine without a proxy between."""
        return self.door is not None or of_this_machine(self.host) and not (self.share or self.proxies or self.allow_hosts or self.root_path)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare every flag; what is not given stays None, for `read` to look into the environment."""
    metavars = {"auth": "USER:PASSWORD", "allow-host": "NAME", "proxy": "ADDRESS", "home": "FOLDER", "root-path": "PATH"}
    for flag, _, usual, words in FLAGS:
        if usual is False:
            parser.add_argument(f"--{flag}", action="store_true", default=None, help=words)
        else:
            parser.add_argument(f"--{flag}", action="append" if usual == () else "store", metavar=metavars.get(flag, flag.upper()), help=words)


def read(given: Any = None) -> Settings:
    """Settings of parsed flags (any object or mapping with their names), then of the environment. Raises Refusal for what cannot be."""
    chosen = {flag: _value(given, flag, variable, usual) for flag, variable, usual, _ in FLAGS}
    try:
        port = int(chosen["port"])
    except ValueError:
        raise Refusal("Port must be a number; it is '{port}'.", "port", port=str(chosen["port"])[:40]) from None
    host = chosen["host"].strip().removeprefix("[").removesuffix("]")
    door = check_door(chosen["auth"], chosen["share"], chosen["open-paths"])
    notice = ""
    if not door and not chosen["anyone"] and in_space() and not of_this_machine(host):  # only its owner reads a Space's log
        door = ("lab", secrets.token_urlsafe(12))
        notice = OWN_PASSWORD.format(user=door[0], password=door[1])
    if not door and not chosen["anyone"] and not of_this_machine(host):
        raise Refusal(
            "With --host {host} everybody who reaches this machine would use the lab: give --auth user:password (or LAB_AUTH), or --anyone if that is meant.",
            "host",
            host=host[:80],
        )
    allowed = chosen["allow-host"] + ((os.environ["SPACE_HOST"],) if os.environ.get("SPACE_HOST") else ())  # a hosted Space says its name
    for name in allowed:
        if not hosts.split(name.lower())[0] or not hosts.is_name(name):
            raise Refusal("Give --allow-host a name as lab.example.org or lab.example.org:8443, not '{name}'.", "allow_host", name=name[:80])
    for address in chosen["proxy"]:
        try:
            ipaddress.ip_network(address)
        except ValueError:
            raise Refusal(
                "Give --proxy the address or network that the proxy calls from, as 127.0.0.1, not '{address}'.", "proxy", address=address[:80]
            ) from None
    root = chosen["root-path"].rstrip("/") or (f"https://{os.environ['SPACE_HOST']}" if os.environ.get("SPACE_HOST") else "")
    if (
        root
        and not (root.startswith("/") and not root.startswith("//") or urlsplit(root).scheme in ("http", "https"))
        or not root.isprintable()
        or any(letter in root for letter in "\"'<>?#\\ ")
        or "/.." in root
    ):
        raise Refusal("Give --root-path a path as /lab, not '{root}'.", "root_path", root=root[:80])
    home = chosen["home"] or (str(STORAGE / "lab-home") if in_space() and os.access(STORAGE, os.W_OK) else "")
    names = tuple(name.lower() for name in allowed)
    found = Settings(host, port, home, door, chosen["share"], chosen["open-paths"], names, root, _mcp(chosen["mcp"]), chosen["proxy"], notice, chosen["push"])
    if found.push and not found.ours:
        raise Refusal("With --push whoever reaches the lab sends to the hub with this machine's token, so it needs --auth user:password here.", "push")
    return found


def in_space() -> bool:
    """Whether a hosted Space runs this: its host says so in the environment."""
    return bool(os.environ.get("SPACE_ID") or os.environ.get("SPACE_HOST"))


def _mcp(asked: bool) -> bool:
    if asked and importlib.util.find_spec("mcp") is None:
        raise Refusal("--mcp needs the package mcp, which is not installed: {command}.", "mcp", command=installed.command("mcp"))
    return asked


def _value(given: Any, flag: str, variable: str, usual: Any) -> Any:
    name = flag.replace("-", "_")
    value = given.get(name) if isinstance(given, dict) else getattr(given, name, None)
    if value is None:
        value = next((found for name in (variable, *ALSO.get(flag, ())) if (found := os.environ.get(name, "").strip())), "")
        if usual is False:
            return value.lower() in ("1", "true", "yes", "on")
        return tuple(part.strip() for part in value.split(",") if part.strip()) if usual == () else value or usual
    return tuple(value) if usual == () else value


def check_door(auth: str, share: bool, open_paths: bool) -> tuple[str, str] | None:
    """(user, password) of `user:password`, None without. Raises `Refusal` for what would let strangers in, or let them read local files."""
    user, colon, password = auth.partition(":")
    if auth and not (user and colon and len(password) >= SHORTEST_PASSWORD):
        raise Refusal("Give --auth as user:password, with a password of at least {most} letters.", "auth", most=SHORTEST_PASSWORD)
    if open_paths and (auth or share):
        raise Refusal(
            "--open-paths lets everybody who reaches the app read files of this machine, so it goes together with neither --auth nor --share.", "open_paths"
        )
    if share and not auth:
        raise Refusal("--share gives the app an address on the internet, so it needs --auth user:password.", "share")
    return (user, password) if auth else None


def of_this_machine(host: str) -> bool:
    """Whether only programs of this machine can reach what listens there: every address that the name has is a loopback one."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError, ValueError):
        return True  # nothing can listen there: that is said when it is tried
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)
