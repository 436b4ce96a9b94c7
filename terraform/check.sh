#!/usr/bin/env bash
# Checks the Terraform without AWS, credentials or, where the provider lies on this machine, a network: format,
# references and types, and the tests of tests/. In a copy, so that neither your .terraform nor your inputs are touched.
#
# TF_PLUGIN_DIR names the folder that holds <host of the registry>/hashicorp/aws/... Without it a provider of the version
# that is pinned is looked for, and else downloaded, which takes a registry and 700 MB.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD

command -v terraform >/dev/null || {
  echo 'terraform is missing: install Terraform 1.11 or newer (https://developer.hashicorp.com/terraform/install)' >&2
  exit 1
}

# What a test says must not depend on who runs it.
[ -e "${TF_CLI_CONFIG_FILE:-/}" ] || unset TF_CLI_CONFIG_FILE
for name in $(compgen -e | grep -E '^(AWS_|TF_VAR_|TF_CLI_ARGS|TF_DATA_DIR$|TF_WORKSPACE$)' || true); do unset "$name"; done
export TF_IN_AUTOMATION=true CHECKPOINT_DISABLE=true

copy=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$copy"' EXIT
cp -r ./*.tf ./*.example tests "$copy"
cp .terraform.lock.hcl "$copy" 2>/dev/null || true

find_plugins() {
  local version binary place
  version=$(sed -n '/hashicorp\/aws/,/}/s/.*version *= *"\(.*\)"/\1/p' versions.tf)
  for place in "$here/.terraform/providers" "$HOME/.terraform.d" /usr/local/share /usr/share/terraform /opt; do
    [ -d "$place" ] || continue
    binary=$(find "$place" -maxdepth 7 -path "*/hashicorp/aws/$version/*/terraform-provider-aws*" -print -quit 2>/dev/null || true)
    if [ -n "$binary" ]; then
      (cd "${binary%/hashicorp/aws/*}/.." && pwd)
      return
    fi
  done
}
plugins=${TF_PLUGIN_DIR:-$(find_plugins)}

echo '== format'
terraform fmt -check -diff -recursive

cd "$copy"
echo '== init'
if [ -n "$plugins" ]; then
  terraform init -no-color -backend=false -input=false -plugin-dir="$plugins" >init.log || { cat init.log; exit 1; }
else
  # Downloaded once: the copy is new each time.
  export TF_PLUGIN_CACHE_DIR=${TF_PLUGIN_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/terraform-plugins}
  export TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE=true
  mkdir -p "$TF_PLUGIN_CACHE_DIR"
  terraform init -no-color -backend=false -input=false >init.log || {
    cat init.log
    echo 'The AWS provider could not be had: name a folder that has it in TF_PLUGIN_DIR, or connect to the registry' >&2
    exit 1
  }
fi

echo '== validate'
terraform validate -no-color

# To files, for two run at once. Into a pipe that closes early, terraform would die and leave its providers behind.
echo '== test'
failed=0
terraform test -no-color -filter=tests/variables.tftest.hcl >variables.log 2>&1 &
terraform test -no-color -test-directory=tests/example -var-file=terraform.tfvars.example >example.log 2>&1 || failed=1
cat example.log
terraform test -no-color -filter=tests/stack.tftest.hcl -filter=tests/offline_plan.tftest.hcl >stack.log 2>&1 || failed=1
cat stack.log
wait $! || failed=1
cat variables.log
exit $failed
