#!/bin/sh
# A child that says "done" and then does not end.
[ "$1" = child ] || exit 0
printf '\017\000\000\000\002\000\000\000{"type":"done"}\022\000' >&4
exec /bin/sleep 300
