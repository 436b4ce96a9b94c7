#!/usr/bin/env bash
# Proves that the tests of the stack notice dangerous changes: applies each mutant of tests/policy/mutants.mts to a copy and
# prints a table of what caught it. Fails if one goes unnoticed. check.sh runs it.
#
#   terraform/mutants.sh          mutants share copies, as long as no two of a copy concern one resource: a minute or two
#   terraform/mutants.sh --each   each mutant in a copy of its own: ten minutes or more
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=terraform/prepare.sh
. ./prepare.sh

node tests/policy/mutate.mts "$copy" "$@"
