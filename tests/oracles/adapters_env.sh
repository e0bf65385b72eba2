#!/bin/sh
# Makes .venv-adapters with AdapterHub's library and the transformers that it pins; a second call is instant.
#   tests/oracles/adapters_env.sh [python]        (about 1.2 GB with torch for CPUs)
set -e
cd "$(dirname "$0")/../.."
python=${1:-python3.11}
venv=.venv-adapters
[ "$venv/.ready" -nt requirements-adapters.txt ] && exit 0
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" >/dev/null 2>&1 || { rm -rf "$venv"; "$python" -m venv --without-pip "$venv"; "$python" -m pip --python "$venv/bin/python" install --quiet pip; }
fi
echo "Installing requirements-adapters.txt into $venv (about 1.2 GB)"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet -r requirements-adapters.txt
touch "$venv/.ready"
