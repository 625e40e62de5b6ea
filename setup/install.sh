#!/bin/sh
# Installs a release of portcheck, after its checksum was verified.
#
#   install.sh [--version v1.2.3] [--dir DIRECTORY] [--cache DIRECTORY]
#
# Without --version it takes the newest release; without --dir it installs to
# /usr/local/bin if that is writable, else to ~/.local/bin. With --cache it keeps the
# archive there, and verifies it each time. It prints the path of the executable.
# PORTCHECK_BASE_URL names a mirror of the releases, with the paths of GitHub.
#
# The checksums are from the same server. What they are signed with is in the notes
# of each release.
set -eu

base=${PORTCHECK_BASE_URL:-https://github.com/org/portcheck/releases}
version='' dir='' cache=''

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

while [ $# -gt 0 ]; do
	case $1 in
	--version | --dir | --cache) [ -n "${2:-}" ] || fail "$1 needs a value" ;;
	*) fail "unknown argument $1: want --version, --dir or --cache" ;;
	esac
	case $1 in
	--version) version=$2 ;;
	--dir) dir=$2 ;;
	--cache) cache=$2 ;;
	esac
	shift 2
done
case $version in
'' | latest) version='' ;;
v[0-9]*.[0-9]*.[0-9]*)
	case $version in
	*[!0-9A-Za-z.+-]*) fail "--version $version: want a release, such as v1.2.3" ;;
	esac
	;;
*) fail "--version $version: want a release, such as v1.2.3, or latest" ;;
esac

has() { command -v "$1" >/dev/null 2>&1; }

# get URL FILE downloads a file.
get() {
	if has curl; then
		curl --fail --silent --show-error --location --retry 3 --connect-timeout 20 --output "$2" "$1"
	elif has wget; then
		wget -q -O "$2" "$1"
	elif has fetch; then
		fetch -q -o "$2" "$1"
	else
		fail "needs curl, wget or fetch"
	fi || fail "can't download $1"
}

# sum FILE prints the SHA-256 of a file.
sum() {
	if has sha256sum; then
		sha256sum <"$1"
	elif has shasum; then
		shasum -a 256 <"$1"
	elif has sha256; then
		sha256 -q "$1"
	elif has openssl; then
		openssl dgst -sha256 -r <"$1"
	else
		fail "needs sha256sum, shasum, sha256 or openssl"
	fi | cut -d ' ' -f 1
}

exe=portcheck format=tar.gz
system=$(uname -s)
case $system in
Linux) os=linux ;;
Darwin) os=darwin ;;
FreeBSD) os=freebsd ;;
MINGW* | MSYS* | CYGWIN*) os=windows exe=portcheck.exe format=zip ;;
*) fail "there is no release for $system: go install github.com/org/portcheck@latest" ;;
esac
machine=$(uname -m)
case $machine in
x86_64 | amd64) arch=amd64 ;;
aarch64 | arm64) arch=arm64 ;;
armv7* | armv8l) arch=armv7 ;;
i?86) arch=386 ;;
ppc64le | s390x | riscv64) arch=$machine ;;
*) fail "there is no release for $machine: go install github.com/org/portcheck@latest" ;;
esac
case $os,$machine in
linux,x86_64) # a 32-bit system on a 64-bit kernel
	if has getconf && [ "$(getconf LONG_BIT 2>/dev/null)" = 32 ]; then arch=386; fi
	;;
darwin,x86_64) # a shell that Rosetta translates
	if [ "$(sysctl -n sysctl.proc_translated 2>/dev/null)" = 1 ]; then arch=arm64; fi
	;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

if [ -n "$version" ]; then
	get "$base/download/$version/checksums.txt" "$work/checksums.txt"
else
	get "$base/latest/download/checksums.txt" "$work/checksums.txt"
fi
line=$(grep -E "^[0-9a-f]{64}  portcheck_[0-9A-Za-z.+-]+_${os}_$arch\\.$format\$" "$work/checksums.txt") ||
	fail "the release has no archive for ${os}_$arch"
[ "$(printf '%s\n' "$line" | wc -l)" -eq 1 ] || fail "the release has several archives for ${os}_$arch"
want=${line%% *} archive=${line##* }
released=${archive#portcheck_}
released=v${released%_"${os}_$arch.$format"}
[ "${version:-$released}" = "$released" ] || fail "the release $version has the archive of $released"

# A file of the cache may be cut off, or somebody else's: it is verified as well.
if [ -n "$cache" ] && [ -f "$cache/$archive" ] && [ "$(sum "$cache/$archive")" = "$want" ]; then
	cp "$cache/$archive" "$work/$archive"
else
	get "$base/download/$released/$archive" "$work/$archive"
fi
got=$(sum "$work/$archive")
[ "$got" = "$want" ] ||
	fail "the checksum of $archive is wrong: want $want, got $got; nothing was installed"
if [ -n "$cache" ]; then
	mkdir -p "$cache"
	cp "$work/$archive" "$cache/$archive.$$"
	mv "$cache/$archive.$$" "$cache/$archive"
fi

mkdir "$work/files"
case $format in
tar.gz) tar -xzf "$work/$archive" -C "$work/files" "$exe" ;;
zip)
	if has unzip; then
		unzip -q "$work/$archive" "$exe" -d "$work/files"
	else # bsdtar, which Windows has
		"$(cygpath -S)/tar.exe" -xf "$(cygpath -w "$work/$archive")" -C "$(cygpath -w "$work/files")" "$exe"
	fi
	;;
esac

if [ -z "$dir" ]; then
	dir=/usr/local/bin
	if [ ! -d "$dir" ] || [ ! -w "$dir" ]; then dir=$HOME/.local/bin; fi
fi
mkdir -p "$dir"
# A rename, because the file may be in use.
cp "$work/files/$exe" "$dir/.$exe.$$"
chmod 755 "$dir/.$exe.$$"
mv -f "$dir/.$exe.$$" "$dir/$exe"
echo "$dir/$exe"
case :$PATH: in
*:"$dir":*) ;;
*) echo "install.sh: $dir is not in PATH" >&2 ;;
esac
