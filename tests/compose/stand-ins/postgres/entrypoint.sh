#!/bin/bash
# Makes the cluster when the data folder is empty, then becomes the server: POSTGRES_PASSWORD(_FILE),
# POSTGRES_USER, POSTGRES_DB, POSTGRES_INITDB_ARGS and POSTGRES_HOST_AUTH_METHOD, and what lies in
# /docker-entrypoint-initdb.d (*.sh, *.sql).
set -euo pipefail

value() {
    local file=${1}_FILE
    if [[ -n ${!1-} && -n ${!file-} ]]; then
        echo "$1 and $file are both set" >&2
        exit 1
    fi
    if [[ -n ${!file-} ]]; then
        cat "${!file}"
    else
        echo "${!1-${2-}}"
    fi
}

become_postgres() {
    mkdir -p "$PGDATA"
    chown -R postgres "$PGDATA" /var/run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
}

initialise() {
    local user database password arguments
    user=$(value POSTGRES_USER postgres)
    database=$(value POSTGRES_DB "$user")
    password=$(value POSTGRES_PASSWORD)
    read -ra arguments <<<"$(value POSTGRES_INITDB_ARGS)"
    [[ -n $password ]] || { echo "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2; exit 1; }
    initdb --username="$user" --pwfile=<(echo "$password") "${arguments[@]}" -D "$PGDATA"
    echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    export PGPASSWORD=$password PGUSER=$user
    [[ $database == postgres ]] || createdb --maintenance-db=postgres "$database"
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sh) . "$file" ;;
        *.sql) psql --no-psqlrc -v ON_ERROR_STOP=1 -d "$database" -f "$file" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD PGUSER
}

[[ ${1-} != -* ]] || set -- postgres "$@"
if [[ ${1-} == postgres ]]; then
    [[ $(id -u) -ne 0 ]] || become_postgres "$@"
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA" 2>/dev/null || true
    [[ -s $PGDATA/PG_VERSION ]] || initialise
fi
exec "$@"
