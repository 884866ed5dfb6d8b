#!/bin/sh
# Makes .venv from the hash-pinned requirements, or leaves it as it is when nothing is to be done.
#   ./setup.sh                     with the newest Python that is here; an existing .venv keeps its own
#   PYTHON=python3.12 ./setup.sh   with this Python
#   VENV=folder ./setup.sh         in another folder than .venv
#   ./setup.sh --find python3.12   only says where this Python is; fails when it is not
# It uses uv where uv is installed; elsewhere a pinned one comes by pip.
set -eu
cd "$(dirname "$0")"

venv=${VENV:-.venv}
names=${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}
uv_version=0.13.9
export UV_PYTHON_DOWNLOADS=never

fail() {
	echo "$*" >&2
	exit 1
}

is_supported() {
	"$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Says where the first of these commands is that is a supported Python. pyenv's versions are looked through,
# too: what it puts on the PATH refuses to run a version that .python-version does not name.
find_python() (
	IFS=:
	for name; do
		# shellcheck disable=SC2086 # $PATH is several folders
		case $name in
		*/*) places=$name ;;
		*) places=$(printf "%s/$name:" $PATH /usr/bin "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin) ;;
		esac
		for place in $places; do
			is_supported "$place" && echo "$place" && return
		done
	done
	return 1
)

# The same for a Python and for the virtual environments made with it.
identity() {
	"$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null
}

# Whether there is a .venv to keep: not one that was left unfinished, whose Python has gone, or is another than
# was asked for.
is_ready() {
	[ -e "$venv/.ready" ] && is_supported "$venv/bin/python" && command -v "$uv" >/dev/null &&
		{ [ -z "${PYTHON:-}" ] || [ "$(identity "$python")" = "$(identity "$venv/bin/python")" ]; }
}

# Runs a command and shows what it says only when it fails; without a network that is pages of text.
quietly() {
	output=$("$@" 2>&1) && return
	case $output in
	*onnection* | *"error sending request"* | *"timed out"*)
		fail "set-up: the package index cannot be reached: connect to a network, or name an index that this" \
			"machine reaches (PIP_INDEX_URL, UV_DEFAULT_INDEX)." ;;
	*) fail "$output" ;;
	esac
}

if [ "${1:-}" = --find ]; then
	find_python "$2"
	exit
fi

if uv --version >/dev/null 2>&1; then
	uv=uv
else
	uv=$venv/bin/uv
fi

if [ -n "${PYTHON:-}" ] || ! is_ready; then
	# shellcheck disable=SC2086 # several names
	python=$(find_python $names) || fail "The bridge needs Python 3.11 or newer, but ${PYTHON:-python3} is" \
		"$("${PYTHON:-python3}" --version 2>/dev/null || echo no Python that runs here):" \
		"install one, or name it, as in PYTHON=python3.14 make demo."
fi

if ! is_ready; then
	echo "set-up: making $venv with $("$python" --version 2>/dev/null)"
	rm -rf "$venv"
	if [ "$uv" = uv ]; then
		quietly uv venv --quiet --python "$python" "$venv"
	else
		"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "set-up: $python has no module venv:" \
			"install it (on Debian and Ubuntu: apt install python3-venv), or install uv."
		quietly "$python" -m venv "$venv"
		quietly "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
	fi
elif [ -z "$(find requirements.txt requirements-dev.txt setup.sh -newer "$venv/.ready")" ]; then
	exit
fi
echo "set-up: installing the pinned requirements"
quietly "$uv" pip sync --quiet --require-hashes --python "$venv/bin/python" requirements.txt requirements-dev.txt
touch "$venv/.ready"
