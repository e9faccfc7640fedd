#!/bin/sh
# Runs @program@ with the settings of the service. For root it becomes the service's user, so that what it makes
# belongs to the service.
export SENDENSE_CONFIG_FILE="${SENDENSE_CONFIG_FILE:-/etc/sendense/@env@}"
program=/usr/lib/@package@/bin/@program@
[ "$(id -u)" = 0 ] || exec "$program" "$@"
cd /
export HOME=@home@
exec setpriv --reuid=@user@ --regid=@user@ --init-groups --inh-caps=-all -- "$program" "$@"
