"""The web app: `python app.py [--host 127.0.0.1] [--port 7860] [--home FOLDER] ...`, which is `python -m lab serve`. Also what a hosted Space runs."""

import sys

from lab.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
