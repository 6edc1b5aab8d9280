#!/bin/sh
# alone.sh FILE COMMAND...: executes COMMAND once nothing is left of the process group whose id is in FILE,
# which is where this notes its own (supervisord gives each program a group). nginx needs it: workers whose
# master was killed live on and hold the port.
file=$1
shift
if [ -s "$file" ]; then
    read -r group <"$file"
    tries=100
    while kill -s KILL -- "-$group" 2>/dev/null && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.02
    done
fi
echo $$ >"$file"
exec "$@"
