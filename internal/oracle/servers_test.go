//go:build linux

package oracle

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
)

// server is a real server, with the manifest entry that describes it.
type server struct {
	name    string
	argv    []string // SELF stands for this test binary, FILE for file, CLASSES for the directory of Java's classes
	file    string   // written into its working directory
	text    string   // content of file; default: the file of that name in testdata
	needs   []need
	says    string // what a client sends to get an answer
	devices bool   // needs v0 and v1
}

// need is a port entry of the manifest.
type need struct {
	protocol  string
	addresses []string
	socket    string // as in the manifest
}

// endpoints returns what the need names on this host.
func (n need) endpoints() []endpoint {
	var all []endpoint
	add := func(addr string, v6only bool) {
		ip := netip.MustParseAddr(addr)
		all = append(all, endpoint{n.protocol, ip.WithZone(""), v6only, ip.Zone()})
	}
	for _, a := range n.addresses {
		switch a {
		case "any":
			add("::", false)
		case "any4":
			add("0.0.0.0", false)
		case "any6":
			add("::", true)
		case "loopback":
			add("127.0.0.1", false)
			if !ipv6Off() {
				add("::1", false)
			}
		default:
			add(a, false)
		}
	}
	return all
}

// greeting returns what a client sends to get an answer.
func (s server) greeting(protocol string) string {
	if s.says == dnsQuery && protocol == tcp {
		return "\x00" + string(rune(len(dnsQuery))) + dnsQuery // after its length, RFC 1035 section 4.2.2
	}
	return s.says
}

func (s server) endpoints() []endpoint {
	var all []endpoint
	for _, n := range s.needs {
		all = append(all, n.endpoints()...)
	}
	return all
}

// manifest returns a manifest that describes the server. If owner is not empty,
// each need gets it.
func (s server) manifest(user, owner string) string {
	var b strings.Builder
	b.WriteString("version: 1\napp: oracle\nports:\n")
	for i, n := range s.needs {
		fmt.Fprintf(&b, "  - name: need-%d\n    port: %d\n    protocol: %s\n    address: [\"%s\"]\n",
			i, number, n.protocol, strings.Join(n.addresses, `", "`))
		for _, field := range [][2]string{{"socket", n.socket}, {"run_as", user}, {"owner", owner}} {
			if field[1] != "" {
				fmt.Fprintf(&b, "    %s: %s\n", field[0], field[1])
			}
		}
	}
	return b.String()
}

const (
	httpGet  = "GET / HTTP/1.0\r\n\r\n"
	dnsQuery = "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x00\x00\x01\x00\x01" // x. IN A
)

// servers returns all servers. Comments have how each one binds, found by
// `strace -f -e trace=socket,setsockopt,bind,listen`.
func servers() []server {
	any4 := []string{"any4"}
	python := "python3"
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		python = "/usr/bin/python3" // the one in PATH may be a slow shim
	}
	nginx := func(listen ...string) string {
		return "daemon off; pid nginx.pid; worker_processes 1; events { worker_connections 32; }\n" +
			"http { access_log off; client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;\n" +
			"server { listen " + strings.Join(listen, "; listen ") + "; return 204; } }\n"
	}
	nginxArgv := []string{"nginx", "-p", ".", "-c", "FILE", "-e", "stderr"}
	java := []string{"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "CLASSES", "Server", fmt.Sprint(number)}
	redis := []string{"redis-server", "--port", fmt.Sprint(number), "--save", "", "--protected-mode", "no"}
	dnsmasq := []string{
		"dnsmasq", "--keep-in-foreground", "--log-facility=-", "--port=" + fmt.Sprint(number),
		"--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=",
	}
	self := func(protocol, addr string) []string { return []string{"SELF", protocol, addr} }
	at := func(addr string) string { return net.JoinHostPort(addr, fmt.Sprint(number)) }
	return []server{
		{ // nginx 1.22: 0.0.0.0, SO_REUSEADDR
			name: "nginx", argv: nginxArgv, file: "nginx.conf", text: nginx("8080"), says: httpGet,
			needs: []need{{protocol: tcp, addresses: any4}},
		},
		{ // nginx 1.22: 0.0.0.0 and [::] with V6ONLY, SO_REUSEADDR
			name: "nginx, both families", argv: nginxArgv, file: "nginx.conf", text: nginx("8080", "[::]:8080"), says: httpGet,
			needs: []need{{protocol: tcp, addresses: []string{"any4", "any6"}}},
		},
		{ // nginx 1.22: SO_REUSEADDR and SO_REUSEPORT
			name: "nginx, reuseport", argv: nginxArgv, file: "nginx.conf", text: nginx("8080 reuseport"), says: httpGet,
			needs: []need{{protocol: tcp, addresses: any4, socket: "{reuse_port: true}"}},
		},
		{ // redis 7.0, default bind `* -::*`: 0.0.0.0 and [::] with V6ONLY, SO_REUSEADDR
			name: "redis", argv: redis, says: "PING\r\n",
			needs: []need{{protocol: tcp, addresses: []string{"any4", "any6"}}},
		},
		{ // redis 7.0 with the bind of its own redis.conf: both with SO_REUSEADDR, ::1 if there is one
			name: "redis on loopback", argv: append(redis[:len(redis):len(redis)], "--bind", "127.0.0.1", "-::1"), says: "PING\r\n",
			needs: []need{{protocol: tcp, addresses: []string{"loopback"}}},
		},
		{ // redis 7.0: ends where there is no ::1
			name: "redis on 127.0.0.1 and ::1", argv: append(redis[:len(redis):len(redis)], "--bind", "127.0.0.1", "::1"), says: "PING\r\n",
			needs: []need{{protocol: tcp, addresses: []string{"127.0.0.1", "::1"}}},
		},
		{ // Python 3.11: 0.0.0.0, SO_REUSEADDR
			name: "python http.server", argv: []string{python, "-m", "http.server", fmt.Sprint(number)}, says: httpGet,
			needs: []need{{protocol: tcp, addresses: any4}},
		},
		{ // Python 3.11, socketserver.TCPServer: 0.0.0.0, no option
			name: "python socketserver", argv: []string{python, "FILE", fmt.Sprint(number)}, file: "tcp.py",
			needs: []need{{protocol: tcp, addresses: any4, socket: "{reuse_address: false}"}},
		},
		{ // Node 18 and 20: [::], V6ONLY off, SO_REUSEADDR
			name: "node http", argv: []string{"node", "FILE", fmt.Sprint(number)}, file: "server.js", says: httpGet,
			needs: []need{{protocol: tcp, addresses: []string{"any"}}},
		},
		{ // Go 1.26: MPTCP on [::], V6ONLY off, SO_REUSEADDR
			name: "go", argv: self(tcp, fmt.Sprintf(":%d", number)),
			needs: []need{{protocol: tcp, addresses: []string{"any"}}},
		},
		{ // Go 1.26: MPTCP, SO_REUSEADDR
			name: "go on 127.0.0.1", argv: self(tcp, at("127.0.0.1")),
			needs: []need{{protocol: tcp, addresses: []string{"127.0.0.1"}}},
		},
		{
			name: "go on a link-local address", argv: self(tcp, at("fe80::11%v1")), devices: true,
			needs: []need{{protocol: tcp, addresses: []string{"fe80::11%v1"}}},
		},
		{ // Go 1.26: [::], V6ONLY off, no SO_REUSEADDR
			name: "go udp", argv: self(udp, fmt.Sprintf(":%d", number)), says: "who\n",
			needs: []need{{protocol: udp, addresses: []string{"any"}}},
		},
		{ // OpenJDK 17: [::], V6ONLY off, SO_REUSEADDR; 0.0.0.0 where no interface has an IPv6 address
			name: "java ServerSocket", argv: java,
			needs: []need{{protocol: tcp, addresses: []string{"any"}}},
		},
		{ // dnsmasq 2.90: UDP and TCP, 0.0.0.0 and [::] with V6ONLY, all with SO_REUSEADDR
			name: "dnsmasq", argv: dnsmasq, says: dnsQuery,
			needs: []need{
				{protocol: tcp, addresses: []string{"any4", "any6"}},
				{protocol: udp, addresses: []string{"any4", "any6"}, socket: "{reuse_address: true}"},
			},
		},
		{ // dnsmasq 2.90: UDP and TCP, with SO_REUSEADDR
			name: "dnsmasq on 127.0.0.1", says: dnsQuery,
			argv: append(dnsmasq[:len(dnsmasq):len(dnsmasq)], "--listen-address=127.0.0.1", "--bind-interfaces"),
			needs: []need{
				{protocol: tcp, addresses: []string{"127.0.0.1"}},
				{protocol: udp, addresses: []string{"127.0.0.1"}, socket: "{reuse_address: true}"},
			},
		},
		{ // Python 3.11, socketserver.UDPServer: 0.0.0.0, no option
			name: "python udp", argv: []string{python, "FILE", fmt.Sprint(number)}, file: "udp.py", says: "who\n",
			needs: []need{{protocol: udp, addresses: any4}},
		},
		{
			name: "python udp, SO_REUSEPORT", argv: []string{python, "FILE", fmt.Sprint(number), "share"}, file: "udp.py", says: "who\n",
			needs: []need{{protocol: udp, addresses: any4, socket: "{reuse_port: true}"}},
		},
	}
}

func findServer(name string) (server, error) {
	for _, s := range servers() {
		if s.name == name {
			return s, nil
		}
	}
	return server{}, fmt.Errorf("no server %q", name)
}

// runServer is the Go server. args are its protocol and address.
func runServer(args []string) error {
	if args[0] == udp {
		conn, err := net.ListenPacket(udp, args[1])
		if err != nil {
			return err
		}
		for buffer := make([]byte, 512); ; {
			_, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return err
			}
			if _, err := conn.WriteTo([]byte("server\n"), from); err != nil {
				return err
			}
		}
	}
	listener, err := net.Listen(tcp, args[1])
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(conn, "server")
		_ = conn.Close() // the client may have closed it
	}
}

// programEnv returns an environment in which the test binary runs as one of its
// programs.
func programEnv(name string) []string {
	return append(os.Environ(), "PORTCHECK_TEST_PROGRAM="+name)
}
