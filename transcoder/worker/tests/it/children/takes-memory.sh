#!/bin/sh
# A child that holds more and more memory.
[ "$1" = child ] || exit 0
held=x
while :; do
    held=$held$held
done
