package report

import (
	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// code explains what ends a finding in brackets: a status that is not ok, a
// notice, or a manifest's error.
type code struct {
	id    string
	name  string // one word in Pascal case, and not the id
	title string
	means string
	how   string // it comes about
	help  string // what to do
	level config.Severity
}

const manifestCode = "manifest"

// codes are all codes that a finding can have.
var codes = []code{
	{
		manifestCode, "ManifestError", "The manifest can't be used",
		"A manifest or the command line has an error. Nothing was probed.",
		"An unknown key, a wrong type, a number out of range, a file that is not there: the message says what is allowed.",
		"Correct the manifest at the line that is named. All errors of all manifests are told at once.", config.SeverityError,
	},
	{
		string(check.InUse), "PortInUse", "The port is in use",
		"Another socket holds the port, so that the app could not bind it.",
		"A bind answers EADDRINUSE: somebody listens there, has bound it, or has a connection from that local port; or the app's address overlaps one of theirs (0.0.0.0 and 127.0.0.1).",
		"Stop the holder, wait for it, allow it with owner if it is the app's own old instance, or use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.Shadowed), "PortShadowed", "The port would be shared",
		"The app could bind the port beside a listener, and each would get a part of the other's traffic.",
		"Both sockets ask to share (SO_REUSEPORT, SO_REUSEADDR on UDP), or the listener has a more specific address than the app.",
		"Stop the listener or use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.Leased), "PortLeased", "The port is claimed by another job",
		"Another job on the same host has claimed the port and does not listen on it yet.",
		"Two jobs on one host look for a port at the same time.",
		"Wait until that job ends or use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.Denied), "BindDenied", "The app may not bind the port",
		"The right to bind the port is missing, as for ports below 1024 without CAP_NET_BIND_SERVICE.",
		"A bind answers EACCES or EPERM: a port below net.ipv4.ip_unprivileged_port_start without CAP_NET_BIND_SERVICE, or a security policy.",
		"Grant the app the right, lower the limit with sysctl, or use a higher port.", config.SeverityError,
	},
	{
		string(check.Unavailable), "AddressUnavailable", "The address is not on the host",
		"No interface that is up has the address that the need names.",
		"A bind answers EADDRNOTAVAIL: a typo, an interface that is down, a container that has other addresses than its host.",
		"Bring the interface up, correct the address, or use `address: any`.", config.SeverityError,
	},
	{
		string(check.OSReserved), "PortReserved", "The system keeps the port back",
		"The port lies in a range that the operating system does not give to apps.",
		"Windows keeps ranges back for Hyper-V, WSL and containers, and changes them at each start.",
		"Use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.NotListening), "NotListening", "Nobody listens on the port",
		"The need expects a listener on the port and there is none.",
		"The need has `expect: listening`, and the service is down, or not up yet, or listens on another address.",
		"Start what should listen, or give it time with wait.", config.SeverityError,
	},
	{
		string(check.WrongOwner), "WrongOwner", "Somebody else listens on the port",
		"The need expects its owner to listen on the port and another process does.",
		"The need has `expect: listening` with an `owner` that no holder matches.",
		"Stop that process, or correct owner.", config.SeverityError,
	},
	{
		string(check.Unreachable), "RemoteUnreachable", "The remote port can't be reached",
		"A connect from the target to the remote port was refused, timed out, or its name does not resolve.",
		"The need has `expect: reachable`; the message says which of the three it was.",
		"Start the service, correct remote, or open the firewall.", config.SeverityError,
	},
	{
		string(check.Unknown), "StateUnknown", "The port's state could not be found out",
		"The target could not be asked, or did not show enough for a verdict. The port is not known to be free.",
		"The socket table could not be read, the right to try as `run_as` is missing, a target can't be reached, or a holder's identity decides and can't be read.",
		"Run portcheck with more rights; `--allow-unknown` lets the run pass without an answer.", config.SeverityError,
	},
	{
		string(config.Duplicate), "DuplicateNeed", "Two needs exclude each other",
		"Two needs ask for the same port on the same host and can't both bind it.",
		"The same port and protocol with overlapping addresses, in one manifest, or in manifests that name the same `host`.",
		"Give one of them another port; `allow: [duplicate]` accepts that only one runs.", config.SeverityError,
	},
	{
		string(config.Claimed), "PortClaimed", "Somebody has bound the port and does not listen",
		"The port can still be bound, and another process has bound it too.",
		"A server that starts up, or a program that keeps a port for later; with SO_REUSEADDR on both sides a bind beside it works until one of them listens.",
		"Find out what that process is about to do.", note,
	},
	{
		string(config.Ephemeral), "EphemeralPort", "The port may be taken for outgoing connections",
		"The port lies in the range from which the system takes ports for outgoing connections: it may be taken now and then.",
		"The number is in net.ipv4.ip_local_port_range (32768-60999 by default), and not in net.ipv4.ip_local_reserved_ports.",
		"Use a port outside of that range, or reserve it with sysctl.", note,
	},
	{
		string(config.Privileged), "PrivilegedPort", "The port needs a right to bind",
		"The check may bind the port, and the app may lack the right to do so.",
		"The check runs as root, or with CAP_NET_BIND_SERVICE, and the need names no `run_as`.",
		"Name the app's user with `run_as`, or grant it CAP_NET_BIND_SERVICE.", note,
	},
	{
		string(config.Degraded), "DegradedCheck", "Not everything could be seen",
		"A part of the host's state could not be read, so that the answer has gaps.",
		"Processes of other users without root, /proc hidden by hidepid or a PID namespace, netlink refused by a sandbox, an engine that does not answer. The message names the operation.",
		"Run portcheck with more rights.", note,
	},
	{
		string(config.TimeWait), "TimeWait", "Closed connections still hold the port",
		"The system keeps the port of closed connections for up to a minute.",
		"A server that was just stopped; its last connections wait for late packets.",
		"Give it time with wait.", note,
	},
	{
		string(config.Squatter), "SquattedPort", "Common software takes the port",
		"Software that many machines run by default takes this port.",
		"AirPlay on macOS takes 5000 and 7000, for example.",
		"Use another port if the app runs on such machines.", note,
	},
	{
		string(config.UnsafePort), "UnsafePort", "Browsers refuse the port",
		"Browsers do not open connections to this port.",
		"The Fetch standard blocks it, since another protocol is at home there.",
		"Use another port if browsers are to reach the app.", note,
	},
	{
		string(config.NoIPv6), "MissingIpv6", "The host has no IPv6",
		"The need was judged by IPv4 alone, since the host has no IPv6.",
		"IPv6 is switched off, or not in the kernel; the need has `address: any` or `loopback`.",
		"Name IPv4 addresses if that is meant.", note,
	},
}
