"""The web app: `python app.py [--host 127.0.0.1] [--port 7860] [--home FOLDER]`. Also what a hosted Space runs."""

from __future__ import annotations

import argparse
import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted. Exit status 2 with one sentence where the address or the folder cannot be used."""
    parser = argparse.ArgumentParser(prog="app.py", description="Delta Lab: a bench for parameter-efficient fine-tuning, in the browser.")
    parser.add_argument("--host", default=os.environ.get("LAB_HOST", "127.0.0.1"), help="address to listen on (default %(default)s: this machine only)")
    parser.add_argument("--port", type=int, default=os.environ.get("LAB_PORT", "7860"), help="port to listen on (default %(default)s)")
    parser.add_argument("--home", default=None, help="where runs are kept (default LAB_HOME, or ./lab-home)")
    parser.add_argument("--auth", default=os.environ.get("LAB_AUTH", ""), metavar="USER:PASSWORD", help="ask for a name and password (LAB_AUTH keeps it out of the list of processes)")
    parser.add_argument("--share", action="store_true", help="also give it an address on the internet, through gradio's relay; needs --auth")
    parser.add_argument("--open-paths", action="store_true", help="let pages name models and data anywhere on this machine, not only under LAB_HOME and LAB_DATA")
    given = parser.parse_args(arguments)
    from lab.design.refusal import Refusal

    try:
        from lab.ui.serving import serve

        serve(given.host, given.port, given.home, auth=given.auth, share=given.share, open_paths=given.open_paths)
    except Refusal as problem:
        print(problem.sentence, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
