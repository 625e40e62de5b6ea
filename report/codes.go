package report

import (
	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// code explains what a finding ends with in brackets: a status that is not ok,
// the code of a notice, or "manifest".
type code struct {
	id    string
	name  string // one word in Pascal case, and not the id
	title string
	means string
	cause string // when it occurs
	help  string // what to do
	level config.Severity
}

const manifestCode = "manifest"

// codes lists every code that a finding can have.
var codes = []code{
	{
		manifestCode, "ManifestError", "The manifest can't be used",
		"A manifest or the command line has an error. Nothing was probed.",
		"An unknown key, a wrong type, a number out of range, or a missing file. The message says what is allowed.",
		"Correct the manifest at the given line. A run reports all errors of all manifests.", config.SeverityError,
	},
	{
		string(check.InUse), "PortInUse", "The port is in use",
		"Another socket holds the port, so the app can't bind it.",
		"A bind fails with EADDRINUSE: another socket listens on the port, is bound to it, or has a connection from that local port, on the same or an overlapping address (0.0.0.0 and 127.0.0.1).",
		"Stop the holder, wait for it to end, allow it with `owner` if it is the app's own old instance, or use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.Shadowed), "PortShadowed", "The port would be shared",
		"The app could bind the port although a process listens on it, and each would get a part of the other's traffic.",
		"Both sockets allow sharing (SO_REUSEPORT, or SO_REUSEADDR for UDP), or the listener has a more specific address than the app.",
		"Stop the listener or use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.Redirected), "PortRedirected", "A NAT rule sends the callers elsewhere",
		"No caller that comes by some way reaches a socket of the app on the port, because a NAT rule of the kernel sends all of them to another address or port.",
		"A rule in nf_tables or iptables with DNAT, REDIRECT or TPROXY, or a virtual service of IPVS: left over from an earlier deploy, a hostPort or a NodePort of Kubernetes, or a port that a container publishes. No socket has to hold the port. The message names the callers, the destination and the rule.",
		"Stop what made the rule, such as the container or the pod, or delete the rule if nothing needs it any more. If the app itself is at the destination, set `owner`.", config.SeverityError,
	},
	{
		string(check.Leased), "PortLeased", "The port is claimed by another job",
		"Another job on the same host has claimed the port and does not listen on it yet.",
		"Two jobs on one host choose ports at the same time.",
		"Wait until that job ends or use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.Denied), "BindDenied", "The app may not bind the port",
		"The app lacks the privilege to bind the port, such as CAP_NET_BIND_SERVICE for ports below 1024.",
		"A bind fails with EACCES or EPERM: the port is below net.ipv4.ip_unprivileged_port_start and the app has no CAP_NET_BIND_SERVICE, or a security policy denies it.",
		"Grant the app the privilege, lower the limit with sysctl, or use a higher port.", config.SeverityError,
	},
	{
		string(check.Unavailable), "AddressUnavailable", "The address is not on the host",
		"No interface that is up has the address of the need.",
		"A bind fails with EADDRNOTAVAIL: a typo, an interface that is down, or a container with other addresses than its host.",
		"Bring the interface up, correct the address, or use `address: any`.", config.SeverityError,
	},
	{
		string(check.OSReserved), "PortReserved", "The system reserves the port",
		"The port is in a range that the operating system reserves.",
		"Windows reserves ranges for Hyper-V, WSL and containers, and changes them at each start.",
		"Use one of the alternatives.", config.SeverityError,
	},
	{
		string(check.NotListening), "NotListening", "No process listens on the port",
		"The need expects a listener on the port, and there is none.",
		"The need has `expect: listening`, and the service is down, has not started yet, or listens on another address or for callers by another device.",
		"Start the service, or give it time with `wait`.", config.SeverityError,
	},
	{
		string(check.Exposed), "PortExposed", "Something also listens on other addresses",
		"A process listens on the port as expected, and it or another one also listens outside of the need's addresses.",
		"The need has `expect: listening` and `only: true`. Often a server listens on every address, and was meant for loopback alone, or a container's port is published without an address.",
		"Let the server listen on the need's addresses alone.", config.SeverityError,
	},
	{
		string(check.Undeclared), "UndeclaredListener", "Something listens that no need declares",
		"A process listens on a port of the target, and no need of the run is about that port, protocol and address.",
		"The check was run with `--undeclared`. It may be a service that was forgotten in the manifest, or one that should not be there.",
		"Declare it as a need with `expect: listening` and an `owner`, or stop it.", config.SeverityError,
	},
	{
		string(check.WrongOwner), "WrongOwner", "Another process listens on the port",
		"The need expects its owner to listen on the port, and another process does.",
		"The need has `expect: listening` with an `owner` that no holder matches.",
		"Stop that process, or correct `owner`.", config.SeverityError,
	},
	{
		string(check.Unreachable), "RemoteUnreachable", "The remote port can't be reached",
		"A connection from the target to the remote port was refused or timed out, or the name does not resolve.",
		"The need has `expect: reachable`. The message says which of the three occurred. With `expect: unreachable` a refusal or a timeout is ok.",
		"Start the service, correct `remote`, or open the firewall.", config.SeverityError,
	},
	{
		string(check.Reachable), "RemoteReachable", "The remote port can be reached, and must not be",
		"A connection from the target to the remote port was accepted.",
		"The need has `expect: unreachable`. With `expect: reachable` it is ok.",
		"Stop the service, let it listen on other addresses, or close the firewall for this target.", config.SeverityError,
	},
	{
		string(check.Unknown), "StateUnknown", "The state of the port is unknown",
		"The target could not be probed, or did not show enough for a verdict. The port may be taken.",
		"The socket table or the leases of other jobs can't be read, the check lacks the privilege to bind as the `run_as` user, the target can't be reached, file descriptors ran out, or the verdict depends on a holder that can't be identified.",
		"Run portcheck as root, on Windows as Administrator, if the message names a missing privilege. `--allow-unknown` lets the run pass without an answer.", config.SeverityError,
	},
	{
		string(config.Duplicate), "DuplicateNeed", "Two needs exclude each other",
		"Two needs ask for the same port on the same host and can't both bind it.",
		"The same port and protocol with overlapping addresses, in one manifest, in manifests with the same `host`, or in files of one Compose project.",
		"Give one of them another port. `allow: [duplicate]` accepts that only one of them runs.", config.SeverityError,
	},
	{
		string(config.Replicas), "ReplicatedPort", "Several replicas want one port",
		"Several replicas of a service publish one fixed port of the host, and only one of them can have it.",
		"`deploy.replicas` or `scale` of a Compose service is more than 1.",
		"Run one, publish a range from which each gets a port, or put a proxy before them. `allow: [replicas]` accepts it.", config.SeverityError,
	},
	{
		string(config.Published), "PublishedEverywhere", "Every address of the host leads to a database or the like",
		"A port on which a database, a debugger or an administrator's console often listens is published on every address.",
		"A published port without an address is reachable from the networks of the host; Docker's rules come before those of many firewalls.",
		"Publish it on 127.0.0.1, or on the address of an internal network.", note,
	},
	{
		string(config.Claimed), "PortClaimed", "A process has bound the port and does not listen",
		"The port can still be bound, but another process has bound it as well.",
		"A server is starting, or a program keeps a port for later. With SO_REUSEADDR on both sockets, both binds succeed until one of them listens. Linux hosts with 2,000 or more TCP sockets are searched for such sockets only if a need of the check has a `range`, or has no listener.",
		"Find out whether that process is about to listen.", note,
	},
	{
		string(config.Ephemeral), "EphemeralPort", "The port is in the ephemeral range",
		"The system takes ports for outgoing connections from this range, so the port may be taken at any time.",
		"The port is in net.ipv4.ip_local_port_range (32768-60999 by default), and not in net.ipv4.ip_local_reserved_ports.",
		"Use a port outside of that range, or reserve it with sysctl.", note,
	},
	{
		string(config.Privileged), "PrivilegedPort", "Binding the port needs a privilege",
		"The check may bind the port, but the app may lack the privilege to do so.",
		"The check runs as root or with CAP_NET_BIND_SERVICE, and the need has no `run_as`.",
		"Set `run_as` (`--run-as` for `--port`) to the app's user, or grant the app CAP_NET_BIND_SERVICE.", note,
	},
	{
		string(config.Degraded), "DegradedCheck", "The check could not read everything",
		"A part of the host's state could not be read, so the report is incomplete.",
		"Processes of other users without root, /proc hidden by hidepid or a PID namespace, netlink denied by a sandbox, or a container engine that does not answer. The message names the operation.",
		"Run portcheck as root, on Windows as Administrator, or with the access that the message names.", note,
	},
	{
		string(config.TimeWait), "TimeWait", "Closed connections still hold the port",
		"The system holds the port of a closed connection for up to a minute (TIME_WAIT).",
		"A server has just been stopped. Its last connections wait for delayed packets.",
		"Give it time with `wait`.", note,
	},
	{
		string(config.Squatter), "SquattedPort", "Common software uses the port",
		"Software that many machines run by default uses this port.",
		"For example, AirPlay on macOS uses 5000 and 7000.",
		"Use another port if the app runs on such machines.", note,
	},
	{
		string(config.UnsafePort), "UnsafePort", "Browsers refuse the port",
		"Browsers do not open connections to this port.",
		"The Fetch standard blocks it, since another protocol uses it.",
		"Use another port if browsers are to reach the app.", note,
	},
	{
		string(config.NoIPv6), "MissingIpv6", "The host has no IPv6",
		"The host has no IPv6, so the verdict covers IPv4 alone.",
		"IPv6 is disabled or not in the kernel, or the loopback interface alone has none, and the need has `address: any` or `loopback`.",
		"Use IPv4 addresses in the need if the app needs IPv4 alone.", note,
	},
	{
		string(config.NAT), "NatRules", "A NAT rule may send some callers elsewhere",
		"A NAT rule applies to the port. It sends away only some of its callers, or it is not known which, or it sends away those of every port.",
		"The rule depends on the caller's address, on a mark, on a user or on chance, it takes the calls of every port as a service mesh does (a rule with a condition that at least 64,512 ports meet, as many as need no privilege, is one for every port), or it has a condition that portcheck does not understand. A rule of nf_tables can also change packets without NAT, and answers may then be lost.",
		"Check that the callers of the app are not among them. Alternatives are ports without such a rule.", note,
	},
	{
		string(config.NoCallers), "UnreachedAddress", "Callers don't reach the address",
		"The app can bind an address of the need, and callers don't reach the app there now.",
		"On Linux the host does not have the address, and net.ipv4.ip_nonlocal_bind or net.ipv6.ip_nonlocal_bind is 1, as on a standby of keepalived; link-local addresses are not looked for. Or the address is a broadcast address, to which TCP can't connect.",
		"On a standby, nothing: callers reach the app once the host gets the address, or `allow: [no-callers]` leaves out the notice. Otherwise correct the address.", note,
	},
}
