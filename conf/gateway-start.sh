#!/bin/sh
# What docker-compose.yml starts in the gateway's container: it turns that file's variables into the
# gateway's own configuration, and says first of all what is wrong with them.
set -eu

fail() {
    printf 'gateway: %s\n' "$@" >&2
    exit 64
}

# The network in which this container bears a name, as ADDRESS/LENGTH. The kernel's table of routes has the
# bytes of addresses from the last to the first.
network_of() {
    address=$(getent ahostsv4 "$1" | sed -n '1s/ .*//p')
    [ -n "$address" ] || return 1
    # shellcheck disable=SC2046 # four numbers
    set -- $(echo "$address" | tr . ' ')
    own=$(($4 << 24 | $3 << 16 | $2 << 8 | $1))
    while read -r _ network gateway _ _ _ _ mask _; do
        if [ "$gateway" != 00000000 ] || [ "$mask" = 00000000 ]; then continue; fi
        network=$((0x$network)) mask=$((0x$mask)) length=0
        if [ $((own & mask)) -ne "$network" ]; then continue; fi
        while [ "$mask" -gt 0 ]; do length=$((length + (mask & 1))) mask=$((mask >> 1)); done
        echo "$((network & 255)).$((network >> 8 & 255)).$((network >> 16 & 255)).$((network >> 24 & 255))/$length"
        return
    done </proc/net/route
    return 1
}

# The folder of GATEWAY_CONFIG_FILE is mounted here whole: files beside it (a policy, secrets) can be
# named by it, and an editor that replaces the file is followed by `docker compose kill -s HUP gateway`.
folder=/etc/gateway
file=$folder/${GATEWAY_CONFIG_FILE##*/}
can_not_read="GATEWAY_CONFIG_FILE=$GATEWAY_CONFIG_FILE can't be read by the user of the container (uid $(id -u))."
if [ ! -x "$folder" ]; then
    fail "$can_not_read" "Its folder is closed to others: chmod o+rx, or put it into a folder of its own."
fi
if [ ! -e "$file" ]; then
    fail "GATEWAY_CONFIG_FILE=$GATEWAY_CONFIG_FILE: there is no such file on the host." \
        "Name an existing file, as a path from the folder of docker-compose.yml: GATEWAY_CONFIG_FILE=./gateway.toml"
fi
if [ ! -r "$file" ]; then
    fail "$can_not_read" "Make it readable: chmod o+r"
fi
# Commands in the container find the configuration by GATEWAY_CONFIG, whatever its file is called.
ln -sfn "$file" "$GATEWAY_CONFIG"

if [ "$file" != $folder/compose.toml ]; then
    if [ -n "${BACKEND_URL:-}${STDIO_COMMAND:-}" ]; then
        fail "BACKEND_URL and STDIO_COMMAND are for the configuration that comes with docker-compose.yml, and GATEWAY_CONFIG_FILE replaces that." \
            "Unset them, and write the backend into $GATEWAY_CONFIG_FILE (the bridge of the profile \`stdio\` is http://backend:9000)"
    fi
elif [ -n "${BACKEND_URL:-}" ]; then
    if [ -n "${STDIO_COMMAND:-}" ]; then
        fail "BACKEND_URL and STDIO_COMMAND are both set: which of them is your server? Unset the other."
    fi
    case $BACKEND_URL in
        *://localhost | *://localhost[:/]* | *://127.* | *://\[::1\]*)
            fail "BACKEND_URL=$BACKEND_URL names this container itself. A server on the host is http://host.docker.internal:PORT" \
                "(it has to listen on 0.0.0.0, or on the address of Docker's bridge, not on 127.0.0.1 alone)"
            ;;
    esac
    export GATEWAY__BACKEND__0__URL="$BACKEND_URL" GATEWAY__BACKEND__0__NAME="${BACKEND_NAME:-backend}"
elif [ -n "${STDIO_COMMAND:-}" ]; then
    export GATEWAY__BACKEND__0__NAME="${BACKEND_NAME:-stdio}"
else
    # The bundled document server: what an answer cites opens for whoever may read it.
    export GATEWAY__BACKEND__0__PAGES=/documents/
fi

# What the profiles put beside the gateway.
profiles=",${COMPOSE_PROFILES:-},"
case $profiles in
    *,tls,*)
        case ${GATEWAY_PUBLIC_URL:-} in
            https://*) ;;
            *) fail "The profile \`tls\` is for an https URL: GATEWAY_PUBLIC_URL=https://mcp.example.com, and it is ${GATEWAY_PUBLIC_URL:-empty}" ;;
        esac
        # Limits, logs and rules go by the address that Caddy names. Only the two of them are in that network.
        if [ "$file" = $folder/compose.toml ]; then
            edge=$(network_of gateway-edge) || fail "The network that Caddy and the gateway have for themselves is not there."
            export GATEWAY__TRUSTED_PROXIES="$edge"
        fi
        ;;
esac
case $profiles in
    # Prometheus asks the admin listener, which no port is published of. Other containers of this file can
    # ask for its figures too; its commands want the operator's token.
    *,observability,*) if [ "$file" = $folder/compose.toml ]; then export GATEWAY__ADMIN_LISTEN=0.0.0.0:9090; fi ;;
esac

exec gateway serve
