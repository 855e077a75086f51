#!/bin/sh
# What the profile `stdio` of docker-compose.yml starts: the bridge in front of STDIO_COMMAND.
set -eu

if [ -z "${STDIO_COMMAND:-}" ]; then
    echo 'bridge: STDIO_COMMAND is not set: say which server to run, as STDIO_COMMAND="npx -y @modelcontextprotocol/server-everything"' >&2
    exit 64
fi

# The server gets the variables of STDIO_ENV_FILE, by their names, and where the certificate
# authorities are: neither Node nor uv looks at the system's by itself.
set -- --env NODE_EXTRA_CA_CERTS --env SSL_CERT_FILE
for name in ${STDIO_ENVIRONMENT:-}; do set -- "$@" --env "$name"; done

# The words are split as a shell would, quotes included, and `exec` leaves no shell between.
# Only the gateway is on the internal network beside it.
exec mcp-backend bridge --listen 0.0.0.0:9000 --allowed-host backend --name stdio --warm-up --trust-identity-headers \
    --process "${STDIO_PROCESS:-session}" --working-directory /data "$@" -- sh -c "exec $STDIO_COMMAND"
