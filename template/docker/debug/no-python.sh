#!/bin/sh
# The command `remora` of an image without Python. The health check succeeds, so that the containers
# run as they would without a debugger.
[ "$*" = "ready --health" ] && exit
echo "there is no Python in this image, so there is nothing to debug" >&2
exit 1
