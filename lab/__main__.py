"""The lab in the terminal: python -m lab, and delta-lab where it is installed."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; its exit status. Ctrl-C counts from the first import on."""
    try:
        from lab.cli import main as command

        return command()
    except KeyboardInterrupt:
        print("Interrupted before anything was done.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
