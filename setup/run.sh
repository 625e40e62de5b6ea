#!/usr/bin/env bash
# Installs portcheck for the steps of a job: action.yml runs it.
#
# The archive is kept in the runner's tool cache. Runners of your own keep that from
# job to job.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

native() { # the path as other programs of the runner want it
	if [[ $RUNNER_OS == Windows ]]; then cygpath -w "$1"; else printf '%s\n' "$1"; fi
}
slashes() { printf '%s\n' "${1//\\//}"; }

version=$INPUT_VERSION
if [[ -z $version && $ACTION_REF =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]]; then
	version=$ACTION_REF
fi
directory=$(mktemp -d "$(slashes "$RUNNER_TEMP")/portcheck-XXXXXXXX")
arguments=(--version "${version:-latest}" --dir "$directory")
if [[ -n ${RUNNER_TOOL_CACHE:-} ]]; then
	arguments+=(--cache "$(slashes "$RUNNER_TOOL_CACHE")/portcheck")
fi
if ! path=$(sh "$here/install.sh" "${arguments[@]}" 2>"$directory/stderr"); then
	message=$(tr '\r\n%' '   ' <"$directory/stderr")
	echo "::error title=portcheck::$message"
	exit 1
fi
installed=$("$path" version)
installed=${installed#portcheck }
installed=${installed%% *}
# v1 is a tag that moves, and not to another major version.
if [[ -z $INPUT_VERSION && $ACTION_REF =~ ^v[0-9]+$ && $installed != "$ACTION_REF".* ]]; then
	echo "::error title=portcheck::the newest release is $installed, which is not $ACTION_REF: set the input version"
	exit 1
fi
echo "portcheck $installed is at $path"
native "$directory" >>"$GITHUB_PATH"
{
	echo "version=$installed"
	echo "path=$(native "$path")"
} >>"$GITHUB_OUTPUT"
