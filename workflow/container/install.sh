#!/bin/sh
# Install gendistill with the exact versions of requirements.lock into a virtual environment. Both container recipes run this; so can
# a plain machine that has git and Python:
#
#     sh workflow/container/install.sh FOLDER
#
# PYTHON: the Python to build on (default python3).
# TORCH_INDEX_URL: the package index that torch and torchvision are taken from, which decides for which device they are built, such as
# https://download.pytorch.org/whl/cpu for none but the CPU. Default: that of pip, which has the builds for CUDA.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: sh $0 FOLDER" >&2
    exit 2
fi
folder=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
lock=$root/requirements.lock

"${PYTHON:-python3}" -m venv "$folder"
install() {
    "$folder/bin/python" -m pip install --disable-pip-version-check --no-cache-dir --quiet "$@"
}

# torch goes first: nothing else may choose its build. torchvision must be of the same build.
# shellcheck disable=SC2046  # each version is one word
install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} $(grep -E '^(torch|torchvision)==' "$lock")
install --requirement "$lock"
# From a copy: building leaves files beside the source.
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
cp -R "$root/src" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$source"
install --no-deps "$source"
