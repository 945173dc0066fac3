# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced: finds Debian's kernels, and a QEMU that is new enough, by package name, unpacks them into the user's cache, and provides
# virtme-ng. Nothing is installed on the machine: apt works on lists of its own, with the mirror that the machine uses for everything else.
# What is unpacked stays until its directory in the cache is deleted; which version it is gets printed.

culvert_cache=${XDG_CACHE_HOME:-$HOME/.cache}/culvert
kernel_cache=$culvert_cache/kernels
qemu_cache=$culvert_cache/qemu
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

# open_suite STATE SUITE: a fresh STATE that knows SUITE's packages.
open_suite() {
  local state=$1 suite=$2 mirror
  mirror=${CULVERT_MIRROR:-$(mirror_of "$suite")}
  [ -n "$mirror" ] || { complain "apt on this machine knows no mirror for $suite: set CULVERT_MIRROR=URL"; return 1; }
  rm -rf "$state"
  mkdir -p "$state/lists" "$state/cache/archives" "$state/packages"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$state/sources.list"
  private_apt "$state" apt-get update
}

# unpack_packages STATE TREE PACKAGE...
unpack_packages() {
  local state=$1 tree=$2 package
  shift 2
  rm -rf "$tree"
  mkdir -p "$tree"
  (cd "$state/packages" && private_apt "$state" apt-get download "$@") || return 1
  for package in "$state"/packages/*.deb; do dpkg -x "$package" "$tree" || return 1; done
}

unpack_kernel() {
  local key=$1 suite meta image parts release
  local state=$kernel_cache/.$key.apt tree=$kernel_cache/.$key.new
  read -r suite meta < <(kernel_source "$key")
  open_suite "$state" "$suite" || return 1
  image=$(dependencies_of "$state" "$meta" | grep -E '^linux-image-[0-9]') || return 1
  # Up to 6.12 the image package holds everything; from 7 on it only depends on the parts.
  parts=$(dependencies_of "$state" "$image" | grep -E '^linux-(base|binary|modules)-[0-9]') || parts=$image
  # shellcheck disable=SC2086  # one word a package
  unpack_packages "$state" "$tree" $parts || return 1
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

qemu_version() { "$1" --version | sed -nE '1s/.*version ([0-9]+\.[0-9]+).*/\1/p'; }

# is_qemu_sound VERSION: QEMU before 8.1 computes wrong flags after cmpxchg16b, races when a kernel patches its code on several processors, and
# emulates a fifth slower.
is_qemu_sound() { printf '8.1\n%s\n' "$1" | sort -C -V; }

unpack_qemu() {
  local suite state=$culvert_cache/.qemu.apt tree=$culvert_cache/.qemu.new
  suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}-backports")
  open_suite "$state" "$suite" || return 1
  unpack_packages "$state" "$tree" qemu-system-x86 qemu-system-common qemu-system-data seabios || return 1
  # Its libraries are those that the installed QEMU came with.
  qemu_version "$tree/usr/bin/qemu-system-x86_64" >/dev/null || return 1
  rm -rf "$state"
  mv "$tree" "$qemu_cache" || return 1
  complain "QEMU is from $suite"
}

# qemu_ready: sets `qemu` to the program to use: the installed one where it is sound, else the backport, else the installed one in spite of all.
qemu_ready() {
  local backport=$qemu_cache/usr/bin/qemu-system-x86_64
  qemu=$(command -v qemu-system-x86_64) || { complain "qemu-system-x86_64 is missing: run scripts/setup"; return 1; }
  if is_qemu_sound "$(qemu_version "$qemu")"; then return 0; fi
  mkdir -p "$culvert_cache"
  if (
    flock 9
    [ -d "$qemu_cache" ] || unpack_qemu
  ) 9>"$culvert_cache/.qemu.lock"; then
    qemu=$backport
  else
    complain "no QEMU from backports: the installed one is used, with what works around its faults"
  fi
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
