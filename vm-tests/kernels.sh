# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced: finds Debian's kernels by package name, unpacks them into the user's cache, and provides virtme-ng. Nothing is
# installed on the machine: apt works on lists of its own, with the mirror that the machine uses for everything else.
# A kernel stays until its directory in the cache is deleted; which one it is gets printed.

culvert_cache=${XDG_CACHE_HOME:-$HOME/.cache}/culvert
kernel_cache=$culvert_cache/kernels
virtme_version=1.42

complain() { echo "vm-tests: $*" >&2; }

# kernel_source KEY: "suite metapackage".
kernel_source() {
  case $1 in
    6.1) echo bookworm-security linux-image-amd64 ;;
    6.12) echo bookworm-security linux-image-6.12-amd64 ;;
    7) echo trixie-backports linux-image-amd64 ;;
    *) return 1 ;;
  esac
}

kernel_release() { basename "$kernel_cache/$1"/lib/modules/*; }

# mirror_of SUITE: the address under which this machine's apt finds that kind of suite (asked for URIs only, nothing is updated).
mirror_of() {
  local pattern='/debian$'
  case $1 in *-security) pattern='debian-security$' ;; esac
  apt-get update --print-uris | sed -nE "s#^'([^']*[^/])/*/dists/.*#\\1#p" | sort -u | grep -E "$pattern" | head -n 1
}

# private_apt STATE TOOL ...: apt-get or apt-cache on STATE's own source list, lists and cache.
private_apt() {
  local state=$1 tool=$2
  shift 2
  "$tool" -qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::Lists="$state/lists" -o Dir::State::status=/dev/null \
    -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

dependencies_of() { private_apt "$1" apt-cache depends "$2" | sed -n 's/^ *Depends: //p'; }

unpack_kernel() {
  local key=$1 suite meta mirror image parts package release
  local state=$kernel_cache/.$key.apt tree=$kernel_cache/.$key.new
  read -r suite meta < <(kernel_source "$key")
  mirror=${CULVERT_MIRROR:-$(mirror_of "$suite")}
  [ -n "$mirror" ] || { complain "apt on this machine knows no mirror for $suite: set CULVERT_MIRROR=URL"; return 1; }
  rm -rf "$state" "$tree"
  mkdir -p "$state/lists" "$state/cache/archives" "$state/packages" "$tree"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$state/sources.list"
  private_apt "$state" apt-get update || return 1
  image=$(dependencies_of "$state" "$meta" | grep -E '^linux-image-[0-9]') || return 1
  # Up to 6.12 the image package holds everything; from 7 on it only depends on the parts.
  parts=$(dependencies_of "$state" "$image" | grep -E '^linux-(base|binary|modules)-[0-9]') || parts=$image
  # shellcheck disable=SC2086  # one word a package
  (cd "$state/packages" && private_apt "$state" apt-get download $parts) || return 1
  for package in "$state"/packages/*.deb; do dpkg -x "$package" "$tree" || return 1; done
  [ -e "$tree/lib" ] || ln -s usr/lib "$tree/lib"
  release=$(basename "$tree"/lib/modules/*)
  depmod -b "$tree" "$release" || return 1
  mkdir -p "$tree/boot"
  [ -e "$tree/boot/vmlinuz-$release" ] || ln -s "../lib/modules/$release/vmlinuz" "$tree/boot/vmlinuz-$release"
  chmod a+r "$tree"/boot/* || return 1
  rm -rf "$state"
  mv "$tree" "$kernel_cache/$key" || return 1
  complain "kernel $key is $release, from $suite"
}

# kernel_ready KEY: true once the kernel is in the cache. Several callers at once fetch it once.
kernel_ready() {
  kernel_source "$1" >/dev/null || { complain "no kernel '$1': 6.1, 6.12 or 7"; return 1; }
  mkdir -p "$kernel_cache"
  (
    flock 9
    [ -d "$kernel_cache/$1" ] || unpack_kernel "$1" || { complain "cannot fetch kernel $1"; exit 1; }
  ) 9>"$kernel_cache/.lock"
}

# virtme_ready: puts virtme-ng of the tried version in PATH, from PyPI when the machine has none.
virtme_ready() {
  local venv=$culvert_cache/vng-$virtme_version
  [ "$(vng --version 2>/dev/null)" = "virtme-ng $virtme_version" ] && return 0
  (
    flock 9
    [ -x "$venv/bin/vng" ] || {
      /usr/bin/python3 -m venv "$venv" && "$venv/bin/pip" -q --disable-pip-version-check install "virtme-ng==$virtme_version"
    } || { rm -rf "$venv"; complain "cannot install virtme-ng $virtme_version from PyPI"; exit 1; }
  ) 9>"$kernel_cache/.lock" || return 1
  export PATH=$venv/bin:$PATH
}
