#!/usr/bin/env bash
# Shows that ./dev sets itself up where nothing is: on a fresh Debian 12 and 13, as root and as a user with sudo.
#   tools/try-fresh.sh [--keep] [--test PATTERN] [bookworm | trixie | root | sudo]…   all four without arguments
# Each machine is debootstrap's smallest with git, bash and ca-certificates, started by systemd-nspawn on this machine's
# network. There a clone of HEAD runs ./dev demo, the set-up once again, and with --test also ./dev test PATTERN; then
# nothing may be left: no process, no temporary file, no change in the clone, no file of root in a user's home.
# A line a case: suite, user, seconds of set-up and demo, seconds of the set-up when nothing is missing, what the demo said.
# Needs root, systemd-nspawn, debootstrap, 8 GB in ${TMPDIR:-/var/tmp} and some ten minutes a case. --keep leaves machines and logs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
source tools/setup.sh

# What a machine may be told for it to reach the registries. Credentials in the clients' own files are not passed on.
NETWORK_VARIABLES='(https?|all|no)_proxy|npm_config_(registry|proxy|https_proxy|noproxy|cafile)'
NETWORK_VARIABLES+='|PIP_(INDEX_URL|EXTRA_INDEX_URL|PROXY|TRUSTED_HOST|CERT)|GO(PROXY|SUMDB|NOPROXY|NOSUMDB|PRIVATE|INSECURE)'
NETWORK_VARIABLES+='|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE'

usage() { sed -n '2,/^set /{s/^# \?//p}' "$ROOT/tools/try-fresh.sh"; }

keep='' pattern='' suites=() users=()
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=1 ;;
    --test) shift && pattern=${1:?--test needs a PATTERN} ;;
    bookworm | trixie) suites+=("$1") ;;
    root | sudo) users+=("$1") ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)
[ ${#users[@]} -gt 0 ] || users=(root sudo)
[ "$(id -u)" = 0 ] || fail "only root can make and start another Debian: run tools/try-fresh.sh as root"
for program in systemd-nspawn debootstrap; do
  command -v $program >/dev/null || fail "$program is missing: apt-get install systemd-container debootstrap"
done

work=$(mktemp -d "${TMPDIR:-/var/tmp}/try-fresh.XXXXXX")
machine=''
exec 3>&2 # also while a case writes to its log
clean_up() {
  if [ -n "$machine" ]; then
    kill "$machine" 2>/dev/null || true
    wait "$machine" || true
  fi
  if [ -n "$keep" ]; then
    say "kept: $work (start a machine: systemd-nspawn --directory=$work/…)" 2>&3
  else
    rm -rf --one-file-system "$work"
  fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# NAME=VALUE of all that this machine reaches its registries with: its environment, then what the clients have in files.
network_settings() {
  local name value
  env | grep -iE "^($NETWORK_VARIABLES)=" || true
  if command -v npm >/dev/null; then
    for name in registry proxy https-proxy noproxy cafile; do
      value=$(npm config get "$name" 2>/dev/null) || continue
      case $value in '' | null | undefined) ;; *) echo "npm_config_${name//-/_}=$value" ;; esac
    done
  fi
  if command -v pip >/dev/null; then
    for name in index-url extra-index-url proxy trusted-host cert; do
      value=$(pip config get "global.$name" 2>/dev/null) || continue
      name=${name^^}
      echo "PIP_${name//-/_}=$value"
    done
  fi
  if command -v go >/dev/null; then
    for name in GOPROXY GOSUMDB GONOPROXY GONOSUMDB GOPRIVATE GOINSECURE; do
      value=$(go env $name)
      [ -z "$value" ] || echo "$name=$value"
    done
  fi
}

# What the network asks for, as its administrator would have set it for all users.
connect() {
  local root=$1 setting file
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  apt-config dump | grep -E '^Acquire::https?::(Proxy|CAInfo)' >"$root/etc/apt/apt.conf.d/90network" || true
  cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
  chroot "$root" update-ca-certificates >/dev/null
  network_settings | sort -u -t= -k1,1 >"$root/etc/environment"
  while IFS= read -r setting; do
    file=${setting#*=}
    if [ -f "$file" ] && [ ! -e "$root$file" ]; then install -D -m 644 "$file" "$root$file"; fi
  done <"$root/etc/environment"
}

make_bare() {
  local suite=$1 root=$2
  debootstrap --variant=minbase --include=git,bash,ca-certificates "$suite" "$root" "$(debian_mirror)" || return
  printf '127.0.0.1 localhost\n127.0.1.1 fresh\n' >"$root/etc/hosts"
  connect "$root"
}

make_user() {
  local root=$1
  chroot "$root" apt-get update -qq &&
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 sudo &&
    chroot "$root" useradd --create-home --shell /bin/bash admin || return
  echo 'admin ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/admin"
}

# Runs in the machine, as its root: inside USER PATTERN. What it measured is in files of /out.
inside() {
  local user=$1 pattern=$2 home began left
  home=$(getent passwd "$user" | cut -d: -f6)
  as_user() { su - "$user" -c "cd sendense && $1"; }
  su - "$user" -c "git -c advice.detachedHead=false -c init.defaultBranch=main clone --quiet /in/repository sendense"

  began=$SECONDS
  as_user './dev demo' | tee /out/demo
  echo $((SECONDS - began)) >/out/first
  grep -o '"ok":[a-z]*' <(tail -n1 /out/demo) | cut -d: -f2 >/out/ok
  began=$SECONDS
  # All of the demo's set-up, and then only its help.
  as_user './dev demo --help' >/dev/null
  echo $((SECONDS - began)) >/out/again
  [ -z "$pattern" ] || as_user "./dev test '$pattern'" | tee /out/test

  ps -e -o pid=,ppid=,args= >/out/processes
  left=$(
    awk -v self=$$ '$1 != 1 && $1 != self && $2 != self' /out/processes
    # What these keep there is for all checkouts of a user: pnpm its locks, jest what it knows of files.
    find /tmp /var/tmp -mindepth 1 -maxdepth 1 ! -name 'pnpm-*-locks-*' ! -name 'jest_*'
    find "$home" ! -user "$user" | head -n 20
    as_user 'git status --porcelain'
  )
  [ -z "$left" ] || {
    printf 'left behind:\n%s\n' "$left"
    return 1
  }
}

# Leaves out/ and log beside the machine.
try_case() {
  local suite=$1 user=$2 at=$work/$1-$2 name=root
  mkdir -p "$at/in" "$at/out"
  ln "$work/repository" "$at/in/repository"
  { declare -f inside && echo 'inside "$@"'; } >"$at/in/inside"
  cp -a --reflink=auto "$work/$suite" "$at/root" || return
  if [ "$user" = sudo ]; then
    name=admin
    make_user "$at/root" || return
  fi
  # As on a machine that never asked its mirror for anything.
  rm -rf "$at"/root/var/lib/apt/lists/* "$at"/root/var/cache/apt/*
  # Its /tmp is on its disk, where what is left can be seen.
  SYSTEMD_NSPAWN_TMPFS_TMP=0 systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --resolv-conf=off \
    --console=pipe --machine=fresh --directory="$at/root" --bind-ro="$at/in:/in" --bind="$at/out:/out" --as-pid2 \
    bash -euo pipefail /in/inside "$name" "$pattern" </dev/null &
  machine=$!
  local status=0
  wait "$machine" || status=$?
  machine=''
  return $status
}

value() { cat "$work/$1/out/$2" 2>/dev/null || echo -; }

say "trying $(git log -1 --format='%h %s')"
[ -z "$(git status --porcelain)" ] || say "what is not committed is not tried"
git bundle create --quiet "$work/repository" HEAD
failed=''
for suite in "${suites[@]}"; do
  say "making a $suite"
  make_bare "$suite" "$work/$suite" >"$work/$suite.log" 2>&1 || {
    tail -n 20 "$work/$suite.log" >&2
    fail "$suite could not be made; the end of its log is above"
  }
  for user in "${users[@]}"; do
    case=$suite-$user log=$work/$suite-$user.log verdict=passed
    try_case "$suite" "$user" >"$log" 2>&1 || verdict=FAILED
    [ "$(value "$case" ok)" = true ] || verdict=FAILED
    printf '%s: %s %s, set-up and demo %s s, set-up again %s s, ok %s%s\n' "$verdict" "$suite" "$user" \
      "$(value "$case" first)" "$(value "$case" again)" "$(value "$case" ok)" "${pattern:+, tests: $(value "$case" test | tail -n1)}"
    if [ $verdict = FAILED ]; then
      tail -n 40 "$log" >&2
      failed=1
    fi
    [ -n "$keep" ] || rm -rf --one-file-system "${work:?}/$case/root"
  done
done
[ -z "$failed" ]
