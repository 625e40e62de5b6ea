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
	help  string // what to do
	level config.Severity
}

const manifestCode = "manifest"

// codes are all codes that a finding can have.
var codes = []code{
	{
		manifestCode, "ManifestError", "The manifest can't be used",
		"A manifest or the command line has an error. Nothing was probed.",
		"Correct the manifest at the line that is named. All errors of all manifests are told at once.", config.Error,
	},
	{
		string(check.InUse), "PortInUse", "The port is in use",
		"Another socket holds the port, so that the app could not bind it.",
		"Stop the holder, wait for it, allow it with owner if it is the app's own old instance, or use one of the alternatives.", config.Error,
	},
	{
		string(check.Shadowed), "PortShadowed", "The port would be shared",
		"The app could bind the port beside a listener, and each would get a part of the other's traffic.",
		"Stop the listener or use one of the alternatives.", config.Error,
	},
	{
		string(check.Leased), "PortLeased", "The port is claimed by another job",
		"Another job on the same host has claimed the port and does not listen on it yet.",
		"Wait until that job ends or use one of the alternatives.", config.Error,
	},
	{
		string(check.Denied), "BindDenied", "The app may not bind the port",
		"The right to bind the port is missing, as for ports below 1024 without CAP_NET_BIND_SERVICE.",
		"Grant the app the right, lower the limit with sysctl, or use a higher port.", config.Error,
	},
	{
		string(check.Unavailable), "AddressUnavailable", "The address is not on the host",
		"No interface that is up has the address that the need names.",
		"Bring the interface up, correct the address, or use `address: any`.", config.Error,
	},
	{
		string(check.OSReserved), "PortReserved", "The system keeps the port back",
		"The port lies in a range that the operating system does not give to apps.",
		"Use one of the alternatives.", config.Error,
	},
	{
		string(check.NotListening), "NotListening", "Nobody listens on the port",
		"The need expects a listener on the port and there is none.",
		"Start what should listen, or give it time with wait.", config.Error,
	},
	{
		string(check.WrongOwner), "WrongOwner", "Somebody else listens on the port",
		"The need expects its owner to listen on the port and another process does.",
		"Stop that process, or correct owner.", config.Error,
	},
	{
		string(check.Unreachable), "RemoteUnreachable", "The remote port can't be reached",
		"A connect from the target to the remote port was refused, timed out, or its name does not resolve.",
		"Start the service, correct remote, or open the firewall.", config.Error,
	},
	{
		string(check.Unknown), "StateUnknown", "The port's state could not be found out",
		"The target could not be asked, or did not show enough for a verdict. The port is not known to be free.",
		"Run portcheck with more rights; `--allow-unknown` lets the run pass without an answer.", config.Error,
	},
	{
		string(config.Duplicate), "DuplicateNeed", "Two needs exclude each other",
		"Two needs ask for the same port on the same host and can't both bind it.",
		"Give one of them another port; `allow: [duplicate]` accepts that only one runs.", config.Error,
	},
	{
		string(config.Claimed), "PortClaimed", "Somebody has bound the port and does not listen",
		"The port can still be bound, and another process has bound it too.",
		"Find out what that process is about to do.", note,
	},
	{
		string(config.Ephemeral), "EphemeralPort", "The port may be taken for outgoing connections",
		"The port lies in the range from which the system takes ports for outgoing connections: it may be taken now and then.",
		"Use a port outside of that range, or reserve it with sysctl.", note,
	},
	{
		string(config.Privileged), "PrivilegedPort", "The port needs a right to bind",
		"The check may bind the port, and the app may lack the right to do so.",
		"Name the app's user with `run_as`, or grant it CAP_NET_BIND_SERVICE.", note,
	},
	{
		string(config.Degraded), "DegradedCheck", "Not everything could be seen",
		"A part of the host's state could not be read, so that the answer has gaps.",
		"Run portcheck with more rights.", note,
	},
	{
		string(config.TimeWait), "TimeWait", "Closed connections still hold the port",
		"The system keeps the port of closed connections for up to a minute.",
		"Give it time with wait.", note,
	},
	{
		string(config.Squatter), "SquattedPort", "Common software takes the port",
		"Software that many machines run by default takes this port.",
		"Use another port if the app runs on such machines.", note,
	},
	{
		string(config.UnsafePort), "UnsafePort", "Browsers refuse the port",
		"Browsers do not open connections to this port.",
		"Use another port if browsers are to reach the app.", note,
	},
	{
		string(config.NoIPv6), "MissingIpv6", "The host has no IPv6",
		"The need was judged by IPv4 alone, since the host has no IPv6.",
		"Name IPv4 addresses if that is meant.", note,
	},
}
