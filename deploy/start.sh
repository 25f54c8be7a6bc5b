#!/bin/sh
# Migrate the database unless MIGRATE=off, then become the server, so that SIGTERM reaches it.
# With arguments, run a command of the service instead: `docker run … meetings clients list`.
set -eu
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
    exec flask --app app "$@"
fi
case "${MIGRATE:-on}" in
    [Oo][Nn]) flask --app app db upgrade ;;
    [Oo][Ff][Ff]) ;;
    *) echo "MIGRATE: $MIGRATE must be on or off." >&2; exit 1 ;;
esac
exec python -m config.serve
