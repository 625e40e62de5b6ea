package config

// kind is one kind of problem: the format of its message. TestEveryKindHasACase
// fails for a kind that no test case produces.
type kind string

// Files.
const (
	noFile          kind = "no such file"
	unreadable      kind = "cannot be read: %s"
	notRegular      kind = "is %s: want a regular file, or - for standard input"
	isDirectory     kind = "is a directory: name a file in it, or use --recursive"
	leavesBounds    kind = "a link leads out of %s: in CI, links must stay there; copy the file, or name it by its own path"
	tooBig          kind = "is larger than 1 MiB, the limit of a manifest"
	badGlob         kind = "is not a valid glob pattern: a [ is not closed, or a \\ ends it"
	deepGlob        kind = "** is not supported: use --recursive with a directory"
	emptyGlob       kind = "no file matches this pattern"
	noneInDirectory kind = "no manifest in %s: looked for %s"
	noComposeFile   kind = "no Compose file in %s and its parents: looked for %s"
	nothingFound    kind = "no manifest in %s: looked for %s; no Compose file there and in its parents: looked for %s"
	severalFiles    kind = "COMPOSE_FILE names several files, and portcheck does not merge them: name the file that \"docker compose config\" prints"
	notLocal        kind = "COMPOSE_FILE names %s, which is outside of this directory: name the file on the command line"
	noneBelow       kind = "no manifest below %s: looked for %s"
	deepDirectory   kind = "more than 100 directories one in another, the limit of --recursive: use it with a directory further down"
	sameDirectory   kind = "%s and %s are in one directory: remove one, or name the one to use"
)

// Text and YAML.
const (
	utf16Text    kind = "is UTF-16: save it as UTF-8"
	notUTF8      kind = "byte 0x%02x is not UTF-8: save the file as UTF-8"
	badChar      kind = "character U+%04X is not allowed: want printable text"
	badSyntax    kind = "not valid YAML: %s"
	oddBlank     kind = "character U+00A0 is a non-breaking space, which YAML takes for text: write a plain space"
	yamlPanic    kind = "the YAML library failed on this file (%s): please report it as a bug of portcheck"
	emptyFile    kind = "the manifest is empty: want version, app and ports"
	secondDoc    kind = "a second document starts here: want one manifest in a file"
	tooManyNodes kind = "more than 20,000 values, the limit of a manifest"
	tooDeep      kind = "nested deeper than 50 levels, the limit of a manifest"
	tooManyMarks kind = "more than 100,000 commas, colons, dashes, brackets, question marks and comments, the limit of a manifest"
	tooIndented  kind = "indented by more than 400 columns, the limit of a manifest"
	tagDirective kind = "%%TAG is not supported: remove this line"
	hasAnchor    kind = "anchor %s: anchors and aliases are not supported; write the value out"
	hasAlias     kind = "alias %s: anchors and aliases are not supported; write the value out, or quote text that starts with *"
	hasTag       kind = "tags are not supported: remove the tag, or quote text that starts with !"
	hasMerge     kind = "merge key \"<<\" is not supported: write the values out"
)

// Shape.
const (
	notAManifest kind = "not a manifest: want a mapping with version, app and ports, not %s"
	badKey       kind = "a key must be plain text, not %s"
	duplicateKey kind = "duplicate key %s: first at line %d, column %d"
	unknownKey   kind = "unknown key %s: %s"
	noVersion    kind = "version is missing: want version: 1"
	noPorts      kind = "ports is missing: want a list of needs, each with name and port"
	emptyPorts   kind = "ports is empty: want at least one need with name and port"
	bareNeed     kind = "%s: want a mapping with name and port, such as {name: web, port: %s}, not %s"
	missingKey   kind = "%s is missing: every need has a name and a port"
	wrongType    kind = "%s: want %s, not %s"
	noValue      kind = "%s has no value: want %s"
	unquoted     kind = "%s: %s is %s: put it in quotes to make it text"
	emptyList    kind = "%s is an empty list: want %s"
	listedTwice  kind = "%s: %s is listed twice: first at line %d, column %d"
)

// Values.
const (
	badVersion       kind = "version: %s is not supported: want 1"
	badPort          kind = "%s: %v"
	mistakenPort     kind = "%s: %s is not a port: %s"
	templatePort     kind = "%s: a template is not a port: %s"
	listOfPorts      kind = "%s: want one port, not a list: write one need for each port, or a block such as \"8000-8003\""
	badBlock         kind = "%s: %s is not a block of ports: %v"
	badAddress       kind = "%s: %v"
	badWord          kind = "%s: %s is not allowed: %s"
	badBool          kind = "%s: %s is not a boolean: want true or false, without quotes"
	badDuration      kind = "%s: %s is not a duration: want a number and a unit, such as 500ms, 30s or 1m30s, and at most 24h"
	longDuration     kind = "%s: %s is too long: want at most 24h"
	negativeWait     kind = "%s: %s is negative: want 0s or more, such as 30s"
	emptyText        kind = "%s is empty: want %s"
	longText         kind = "%s is longer than %d characters"
	badText          kind = "%s: %s contains U+%04X: want printable characters only"
	badName          kind = "%s: %s is not a valid name: want 1 to 63 of a-z, 0-9, \"_\", \".\" and \"-\", starting with a letter or digit"
	nameTaken        kind = "name: %s is also the name of the need at line %d, column %d"
	badEnv           kind = "env: %s is not a variable name: want letters, digits and \"_\", not starting with a digit"
	envTaken         kind = "env: %s is also set by the need at line %d, column %d"
	badDevice        kind = "%s: %s is not the name of a network interface: want up to 15 characters such as eth1, without blanks, \"/\" and \":\""
	otherZone        kind = "%s: %s is not the interface of the address %s: a socket has one device"
	badUser          kind = "run_as: %s is not a user: want a user name or a number such as 1000"
	badApp           kind = "app is missing, and the directory's name %s cannot be used instead: %s"
	badTarget        kind = "%s: %v"
	passwordInTarget kind = "%s: a manifest must not contain a password: want ssh://[USER@]HOST[:PORT]"
	reservedName     kind = "targets: %s is a kind of target: use another name for this one"
	unknownTarget    kind = "targets: %s is not a target of this manifest: %s"
)

// Compose files.
const (
	notFollowed        kind = "%s is not followed: write the ports into a portcheck.yml, or name the file that \"docker compose config\" prints"
	nonePublished      kind = "no service publishes a fixed port: there is nothing to check"
	badDotEnv          kind = "is not a valid .env file: want lines such as NAME=value"
	badProject         kind = "the project has no valid name: set name, or COMPOSE_PROJECT_NAME"
	badService         kind = "services: %s is not a name of a service: want 1 to 63 of a-z, A-Z, 0-9, \"_\", \".\" and \"-\", starting with a letter or digit"
	badSpec            kind = "ports: %s is not a published port: want [HOST_IP:]HOST:CONTAINER[/PROTOCOL] with ports or ranges of equal length"
	envOfSeveral       kind = "env: the service publishes %d ports, and a variable is for one: remove env"
	notInExtension     kind = "x-portcheck: %s contains a dollar sign: nothing is interpolated here, write the value out"
	misplacedExtension kind = "x-portcheck has no effect here: it belongs to the top of the file or to a service"
	noContainerPort    kind = "ports: target is missing: want the container's port"
	unsetVariable      kind = "%s: variable %s is required and not set: %s"
	badVariable        kind = "%s: %s is not a valid reference to a variable: want ${NAME} or ${NAME:-value}, and $$ for a dollar sign"
)

// Limits and combinations.
const (
	tooManyNeeds     kind = "more than 4,096 needs, the limit of a run"
	tooManyFiles     kind = "more than 4,096 manifests, the limit of a run: name fewer, in several runs"
	tooManyBytes     kind = "more than 32 MiB of manifests before this one, the limit of a run: name fewer, in several runs"
	tooManyMarksRun  kind = "more than 1,000,000 commas, colons, dashes, brackets, question marks and comments up to the end of this manifest, the limit of a run: name fewer manifests, in several runs"
	tooManyProblems  kind = "more than 1,000 errors: the others are not shown"
	tooManyPorts     kind = "more than 65,536 ports in total, the limit of a run"
	tooManyTargets   kind = "more than 256 targets, the limit of a manifest"
	tooManyAddresses kind = "%s: more than 64 addresses, the limit of a need"
	addressOverlap   kind = "address: %s overlaps %s: one app cannot bind both without socket.reuse_port"
	reuseOfBoth      kind = "socket.reuse_address means different things for tcp and udp: write one need for each protocol"
	remoteMissing    kind = "remote is missing: expect: reachable needs the host to connect to"
	remoteUnused     kind = "remote has no effect without expect: reachable"
	badRemote        kind = "remote: %s is not a host: want a host name or an IP address, without a port"
	reachableUDP     kind = "protocol: expect: reachable connects by tcp: want tcp"
	unusedKey        kind = "%s has no effect with expect: reachable: remove it"
	textOwner        kind = "%s: want a mapping such as {process: %s}, not text"
	emptyOwner       kind = "%s is empty: want one or more of %s"
	matchesAll       kind = "%s: %s matches every owner: be more specific, or remove the key"
	badOwnerGlob     kind = "%s: %s is not a valid glob pattern: a [ is not closed, or a \\ ends it"
	sameNeed         kind = "%s is also a need at %s: give each manifest its own app"
)
