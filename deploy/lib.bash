# Shared by deploy/up and tests/run: system packages by apt, a Python that is new enough, a virtual environment.
# Sourced; the caller sets `here` to the top of the checkout. Needs nothing but bash, coreutils and apt.

# Debian keeps nginx where an ordinary user's PATH does not look.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# Run a command as root, by sudo where that is needed and can ask or need not.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

can_be_root() {
  [ "$(id -u)" -eq 0 ] && return 0
  command -v sudo >/dev/null || return 1
  # Without a terminal sudo cannot ask for a password.
  sudo -n true 2>/dev/null || [ -t 0 ]
}

# install_packages PACKAGE…: by apt, without starting the services that come with them.
install_packages() {
  local command="apt-get update && apt-get install --no-install-recommends $*"
  command -v apt-get >/dev/null || die "missing: $*. This system has no apt: install them with its own package manager."
  if ! can_be_root; then
    # A fresh Debian has no sudo, but su.
    local become="su -c"
    command -v sudo >/dev/null && become="sudo sh -c"
    die "missing: $*. Run this, then start me again: $become '$command'"
  fi
  say "installing $* with apt"
  # nginx and redis would start at once, on ports 80 and 6379. A policy-rc.d that says 101 keeps packages from
  # starting services (Debian policy, invoke-rc.d); one that is there already is the machine's own and stays.
  local policy=/usr/sbin/policy-rc.d ours="" status=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" && ours=yes
  fi
  apt_install "$@" || status=$?
  [ -z "$ours" ] || as_root rm -f "$policy"
  [ "$status" -eq 0 ] || die "apt could not install $*"
  # They would start with the next boot too. decider starts an nginx of its own.
  local service
  for service in "$@"; do
    case $service in nginx | redis-server)
      if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now --quiet "$service" && say "the system's own $service service is off: decider runs its own"
      fi ;;
    esac
  done
}

apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends)
  # Lists may be missing or old: then once more with new ones.
  as_root "${apt[@]}" "$@" </dev/null >&2 || { as_root apt-get update --quiet </dev/null >&2 && as_root "${apt[@]}" "$@" </dev/null >&2; }
}

# need_programs PROGRAM=PACKAGE…: installs the packages of the programs that are missing.
need_programs() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
}

# find_python: sets `python` to the path of a Python 3.11 or newer. $PYTHON is asked first. A `python3` may be a shim
# that stands for another in every folder, so what it really runs is taken.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    python=$("$candidate" -c 'import sys; print(sys.executable if sys.version_info >= (3, 11) else "")' 2>/dev/null) || continue
    [ -z "$python" ] || return 0
  done
  die "no Python 3.11 or newer found; set PYTHON to one"
}

# make_venv FOLDER STAMP: sets `fresh` to "yes" when FOLDER had to be made or holds another stamp than STAMP.
make_venv() {
  local folder=$1 stamp=$2
  fresh=""
  if ! "$folder/bin/python" -c '' 2>/dev/null; then
    find_python
    # Debian takes ensurepip out of Python and puts it into a package of its own.
    "$python" -c 'from ensurepip import bootstrap' 2>/dev/null ||
      install_packages "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    say "making a virtual environment with $python"
    "$python" -m venv --clear "$folder" || die "cannot make $folder"
    fresh=yes
  fi
  [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] || fresh=yes
}
