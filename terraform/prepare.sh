# Read by check.sh and mutants.sh: makes a copy of the module in $copy and initialises it, without AWS, credentials or,
# where the provider is on this machine, a network. In a copy, so that your .terraform and your inputs are left alone.
#
# TF_PLUGIN_DIR names the folder that holds <host of the registry>/hashicorp/aws/... Without it the script looks for a
# provider of a fitting version, and else downloads one, which takes a registry and 700 MB.

command -v terraform >/dev/null || {
  echo 'terraform is missing: install Terraform 1.11 or newer (https://developer.hashicorp.com/terraform/install)' >&2
  exit 1
}
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 24 ? 0 : 1)' 2>/dev/null || {
  echo 'Node 24 or newer is missing: run this as npm run tf:check' >&2
  exit 1
}

# The result of a test must not depend on who runs it.
[ -e "${TF_CLI_CONFIG_FILE:-/}" ] || unset TF_CLI_CONFIG_FILE
for name in $(compgen -e | grep -E '^(AWS_|TF_VAR_|TF_CLI_ARGS|TF_DATA_DIR$|TF_WORKSPACE$)' || true); do unset "$name"; done
export TF_IN_AUTOMATION=true CHECKPOINT_DISABLE=true
# The provider's schema is 14 MB, which Go's garbage collector otherwise walks through over and over.
export GOGC=${GOGC:-400}

here=$PWD
copy=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$copy"' EXIT
cp -r ./*.tf ./*.yml environments tests "$copy"
rm -rf "$copy"/environments/*/.terraform

# The folder of the provider that the environments' lock files name.
find_plugins() {
  local version binary place
  version=$(sed -n 's/^ *version *= *"\(.*\)"/\1/p' environments/prod/.terraform.lock.hcl)
  for place in "$here/.terraform/providers" "$HOME/.terraform.d" /usr/local/share /usr/share/terraform /opt; do
    [ -d "$place" ] || continue
    binary=$(find "$place" -maxdepth 7 -path "*/hashicorp/aws/$version/*/terraform-provider-aws*" -print -quit 2>/dev/null || true)
    if [ -n "$binary" ]; then
      (cd "${binary%/hashicorp/aws/*}/.." && pwd)
      return
    fi
  done
}
TF_PLUGIN_DIR=${TF_PLUGIN_DIR:-$(find_plugins)}
export TF_PLUGIN_DIR

# initialise FOLDER [ARGUMENT...]
initialise() {
  local folder=$1
  shift
  if [ -n "$TF_PLUGIN_DIR" ]; then
    set -- "-plugin-dir=$TF_PLUGIN_DIR" "$@"
  else
    # Downloaded once: the copy is new each time.
    export TF_PLUGIN_CACHE_DIR=${TF_PLUGIN_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/terraform-plugins}
    export TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE=true
    mkdir -p "$TF_PLUGIN_CACHE_DIR"
  fi
  (cd "$folder" && terraform init -no-color -backend=false -input=false "$@") >"$copy/init.log" 2>&1 || {
    cat "$copy/init.log"
    echo 'The AWS provider could not be had: name a folder that has it in TF_PLUGIN_DIR, or connect to the registry' >&2
    return 1
  }
}
# The module is tested with the version that the environments are locked to.
cp environments/prod/.terraform.lock.hcl "$copy"
initialise "$copy"
