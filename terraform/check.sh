#!/usr/bin/env bash
# Checks the Terraform without AWS: format, references and types, the tests of tests/, the rules over all resources, and
# that those rules notice dangerous changes (mutants.sh). prepare.sh says what it needs.
#
#   terraform/check.sh             everything
#   terraform/check.sh --fast      without the mutants
set -euo pipefail
cd "$(dirname "$0")"

echo '== init'
# shellcheck source=terraform/prepare.sh
. ./prepare.sh

echo '== format'
terraform fmt -check -diff -recursive

cd "$copy"

echo '== validate'
terraform validate -no-color

# Into files, because two run at once. Into a pipe that closes early, Terraform would die and leave its providers behind.
echo '== test'
failed=0
(
  status=0
  terraform test -no-color -filter=tests/variables.tftest.hcl -filter=tests/offline_plan.tftest.hcl || status=1
  exit $status
) >variables.log 2>&1 &
inputs=$!
terraform test -json -verbose -filter=tests/stack.tftest.hcl -filter=tests/environments.tftest.hcl >stack.jsonl 2>stack.log || failed=1
cat stack.log
node tests/policy/check.mts . stack.jsonl || failed=1

if [ "${1:-}" != --fast ]; then
  echo '== mutants'
  (cd "$here" && ./mutants.sh) || failed=1
fi

wait "$inputs" || failed=1
cat variables.log
exit $failed
