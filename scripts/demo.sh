#!/bin/sh
# The main job, start to end: submit, follow, compare, stop what was started.
set -u
"$CAMPAIGN" submit specs/ep_resreg.yaml --profile laptop --wait
code=$?
"$CAMPAIGN" down
exit $code
