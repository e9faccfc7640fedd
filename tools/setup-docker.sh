#!/usr/bin/env bash
# Installs and starts a Docker engine with Compose where none answers, for the suite that runs the product in containers.
# Debian 12 or 13, as root. What is there already is left as it is.
#   tools/setup-docker.sh         tools/setup-docker.sh stop: ends the engine that it started
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
source tools/setup.sh

LOG=/var/log/sendense-dockerd.log
PID_FILE=/run/sendense-dockerd.pid
START_TIMEOUT_S=60

engine_answers() { timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

start_engine() {
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker
  else
    say "starting dockerd; its log: $LOG"
    # Its own session, so that it does not end with the terminal that this runs in.
    as_root setsid --fork bash -c "exec dockerd --pidfile $PID_FILE >>$LOG 2>&1 </dev/null"
  fi
  local end=$((SECONDS + START_TIMEOUT_S))
  until engine_answers; do
    if [ "$SECONDS" -ge "$end" ]; then
      as_root tail -30 "$LOG" >&2 || true
      fail "the Docker engine does not answer after $START_TIMEOUT_S s; the end of $LOG is above"
    fi
    sleep 1
  done
}

stop_engine() {
  local pid
  pid=$(cat "$PID_FILE" 2>/dev/null) || return 0
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0
  as_root kill "$pid"
  for _ in $(seq 30); do [ -d "/proc/$pid" ] || return 0; sleep 1; done
}

# Debian 13's package has Compose 2 as a plugin that needs only libc 2.34; Debian 12's is Compose 1.
install_compose() {
  local work
  if [ "$(cut -d. -f1 /etc/debian_version)" -ge 13 ] 2>/dev/null; then
    install_packages docker-compose
    return
  fi
  say "fetching Docker Compose 2 from Debian 13"
  work=$(mktemp -d)
  unpack_from_trixie main "$work" docker-compose
  as_root install -D -m 755 "$work/usr/libexec/docker/cli-plugins/docker-compose" /usr/local/lib/docker/cli-plugins/docker-compose
  rm -rf "$work"
}

case ${1:-} in
  '') ;;
  stop) stop_engine && exit ;;
  *) fail "usage: tools/setup-docker.sh [stop]" ;;
esac

if ! engine_answers; then
  command -v dockerd >/dev/null || install_packages docker.io iptables
  start_engine
fi
docker compose version >/dev/null 2>&1 || install_compose
docker compose version >/dev/null || fail "docker compose does not work: its message is above"
say "Docker $(docker version --format '{{.Server.Version}}'), Compose $(docker compose version --short)"
