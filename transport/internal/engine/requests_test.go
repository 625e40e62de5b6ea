package engine

import (
	"archive/tar"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// Each method sends the request of the Docker Engine API and reads its answer.
func TestRequests(t *testing.T) {
	const all = `[{"Id":"1","Names":["/x/alias","/web"],"Image":"i","Labels":{"a":"b"},"Ports":[{"IP":"::1","PublicPort":80,"Type":"tcp"}]},{"Id":"2"}]`
	answers := map[string]string{
		"GET /containers/json": all,
		"GET /containers/json?all=1&filters=%7B%22label%22%3A%5B%22a%22%2C%22b%22%5D%7D": all,
		"GET /containers/a%2Fb/json":         `{"Id":"1","Name":"/web","Image":"sha256:i","Created":"2026-11-28T04:27:50.019175517Z","Path":"/x","Args":["y"],"Mounts":[{"Destination":"/data"}],"State":{"Running":true,"Status":"running"},"Config":{"Image":"i:1"},"HostConfig":{"NetworkMode":"host","PidMode":"host","AutoRemove":true}}`,
		"GET /images/sha256:i%2Fx/json":      `{"Config":{"Labels":{"a":"b"},"Env":["PATH=/bin"],"Volumes":{"/data":{}}}}`,
		"GET /info":                          `{"SecurityOptions":["name=seccomp","name=rootless"],"OperatingSystem":"Ubuntu","Name":"colima"}`,
		"POST /containers/create?name=n":     `{"Id":"1"}`,
		"POST /containers/a%2Fb/start":       "",
		"DELETE /containers/a%2Fb?force=1":   "",
		"DELETE /containers/gone?force=1":    "404",
		"DELETE /containers/leaving?force=1": "409",
		"DELETE /containers/broken?force=1":  "500",
		"GET /images/broken/json":            "500",
		"GET /containers/broken/json":        "500",
		"POST /containers/broken/start":      "500",
		"GET /containers/json?all=1":         "500",
		"POST /containers/create?name=moved": "300",
	}
	var spec string
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+r.URL.RequestURI()]
		if !ok {
			t.Errorf("unexpected %s %s", r.Method, r.URL.RequestURI())
		}
		if r.URL.Path == "/containers/create" {
			text, _ := io.ReadAll(r.Body)
			spec = r.Header.Get("Content-Type") + " " + string(text)
		} else if r.Header.Get("Content-Type") != "" {
			t.Errorf("%s has a body", r.URL)
		}
		if len(answer) == 3 {
			w.WriteHeader(map[string]int{"300": 300, "404": 404, "409": 409, "500": 500}[answer])
			return
		}
		_, _ = io.WriteString(w, answer)
	})
	ctx := t.Context()
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
	}
	want := []Container{
		{ID: "1", Names: []string{"/x/alias", "/web"}, Image: "i", Labels: map[string]string{"a": "b"}, Ports: []Port{{"::1", 80, "tcp"}}},
		{ID: "2"},
	}
	list, err := e.List(ctx, false)
	check("list", list, want, err)
	list, err = e.List(ctx, true, "a", "b")
	check("list with labels", list, want, err)
	if list[0].Name() != "web" || list[1].Name() != "" {
		t.Errorf("names %q, %q", list[0].Name(), list[1].Name())
	}
	d, err := e.Inspect(ctx, "a/b")
	var details Details
	details.ID, details.Name, details.Image = "1", "/web", "sha256:i"
	details.State.Running, details.State.Status, details.Config.Image = true, "running", "i:1"
	details.HostConfig.NetworkMode, details.HostConfig.PidMode, details.HostConfig.AutoRemove = "host", "host", true
	details.Created, details.Path, details.Args = "2026-11-28T04:27:50.019175517Z", "/x", []string{"y"}
	details.Mounts = []struct{ Destination string }{{"/data"}}
	check("inspect", d, details, err)
	image, err := e.ImageConfig(ctx, "sha256:i/x")
	check("image", image, ImageConfig{map[string]string{"a": "b"}, []string{"PATH=/bin"}, map[string]struct{}{"/data": {}}}, err)
	info, err := e.Info(ctx)
	check("info", info, Info{[]string{"name=seccomp", "name=rootless"}, "Ubuntu", "colima"}, err)
	id, err := e.Create(ctx, "n", Spec{Image: "i", OpenStdin: true, HostConfig: HostConfig{NetworkMode: "host"}})
	check("create", id, "1", err)
	var sent struct {
		Image      string
		OpenStdin  bool
		HostConfig map[string]any
	}
	if text, ok := strings.CutPrefix(spec, "application/json "); !ok || json.Unmarshal([]byte(text), &sent) != nil || sent.Image != "i" || !sent.OpenStdin || sent.HostConfig["NetworkMode"] != "host" {
		t.Errorf("create sent %s", spec)
	}
	if _, ok := sent.HostConfig["PidMode"]; ok {
		t.Errorf("create sent %s: podman does not take an empty PidMode", spec)
	}
	for what, err := range map[string]error{
		"start": e.Start(ctx, "a/b"), "remove": e.Remove(ctx, "a/b"), "remove one that is gone": e.Remove(ctx, "gone"), "remove one that is leaving": e.Remove(ctx, "leaving"),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, listErr := e.List(ctx, true)
	_, inspectErr := e.Inspect(ctx, "broken")
	_, labelsErr := e.ImageConfig(ctx, "broken")
	_, createErr := e.Create(ctx, "moved", Spec{})
	for what, err := range map[string]error{
		"list": listErr, "inspect": inspectErr, "labels": labelsErr, "create": createErr, "start": e.Start(ctx, "broken"), "remove": e.Remove(ctx, "broken"),
	} {
		var refused *Refusal
		if !errors.As(err, &refused) || IsNotFound(err) || !strings.Contains(err.Error(), "with HTTP status") {
			t.Errorf("%s, refused: %v", what, err)
		}
	}
}

func TestRootless(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: false, `{"SecurityOptions":["name=seccomp,profile=default"]}`: false, `{"SecurityOptions":["name=seccomp","name=rootless"]}`: true,
	} {
		e := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
		if got, err := e.Info(t.Context()); err != nil || got.Rootless() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	e := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	if _, err := e.Info(t.Context()); err == nil {
		t.Error("no error from an engine that fails")
	}
}

// What engines of virtual machines call their system and machine.
func TestVM(t *testing.T) {
	for info, want := range map[[2]string]string{
		{"Docker Desktop", "docker-desktop"}:           "Docker Desktop",
		{"Docker Desktop", "moby"}:                     "Docker Desktop",
		{"OrbStack", "orbstack"}:                       "OrbStack",
		{"Ubuntu 24.04.1 LTS", "colima"}:               "Colima",
		{"Ubuntu 24.04.1 LTS", "colima-work"}:          "Colima",
		{"Alpine Linux v3.20", "lima-rancher-desktop"}: "Rancher Desktop",
		{"Rancher Desktop WSL Distribution", "LAPTOP"}: "Rancher Desktop",
		{"fedora", "podman-machine-default"}:           "Podman Machine",
		{"fedora", "localhost.localdomain"}:            "",
		{"Ubuntu 24.04.1 LTS", "lima-peru"}:            "",
		{"Debian GNU/Linux 13 (trixie)", "colimas"}:    "",
		{"", ""}: "",
	} {
		if got := (Info{OperatingSystem: info[0], Name: info[1]}).VM(); got != want {
			t.Errorf("%q: %q, want %q", info, got, want)
		}
	}
}

func TestAnswersThatAreLarge(t *testing.T) {
	for size, want := range map[int]string{8 << 20: "", 8<<20 + 1: "its answer is larger than 8 MB"} {
		e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "[]"+strings.Repeat(" ", size-2))
		})
		_, err := e.List(t.Context(), false)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for size, want := range map[int]string{4096: "the engine refused: xx", 4097: "with HTTP status 500"} {
		const frame = `{"message":" "}`
		e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"message":" `+strings.Repeat("x", size-len(frame))+`"}`)
		})
		if _, err := e.List(t.Context(), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// The error for an engine that can't be reached has the operation that failed, and a
// hint.
func TestUnreached(t *testing.T) {
	if runtime.GOOS != "linux" {
		testbed.Missing(t, "the texts and numbers of errors are those of Linux")
	}
	dir, err := os.MkdirTemp("", "run") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/dead", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	alert, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	testbed.Accept(t, alert, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "\x15\x03\x01\x00\x02\x02\x46\n") // a TLS alert, as after a request that is not TLS
	})
	for name, c := range map[string]struct {
		at        string
		op, hint  string
		errno     error
		inMessage string
	}{
		"no socket":   {"unix://" + dir + "/none", "connect", "there is no socket: mount", syscall.ENOENT, dir + "/none can't be queried (connect: no such file or directory): there is no"},
		"a directory": {"unix://" + dir, "connect", "it is a directory", syscall.ECONNREFUSED, "(connect: connection refused): it is"},
		"dead":        {"unix://" + dir + "/dead", "connect", "no process listens on it", syscall.ECONNREFUSED, "(connect: connection refused): the socket exists"},
		"tcp":         {"tcp://127.0.0.1:1", "connect", "", syscall.ECONNREFUSED, "tcp://127.0.0.1:1 can't be queried (connect: connection refused)"},
		"TLS":         {"tcp://" + alert.Addr().String(), "GET /containers/json", "set DOCKER_TLS_VERIFY", nil, "malformed HTTP response"},
	} {
		e, err := New(map[string]string{"DOCKER_HOST": c.at})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.List(t.Context(), false)
		var u *Unreached
		switch {
		case !errors.As(err, &u):
			t.Errorf("%s: %v", name, err)
		case u.Op != c.op || !strings.Contains(u.Hint, c.hint) || c.hint == "" && u.Hint != "" || c.errno != nil && !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.inMessage):
			t.Errorf("%s: %+v: %v", name, u, err)
		}
		if c.op != "connect" {
			continue // Attach fails as well, with another text
		}
		if _, err := e.Attach(t.Context(), "x"); !errors.As(err, &u) || u.Op != "connect" {
			t.Errorf("%s, attach: %v", name, err)
		}
	}
}

// pair is a certificate and its key.
type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func issue(t *testing.T, template *x509.Certificate, issuer *pair) *pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
	own := &pair{template, key}
	if issuer == nil {
		issuer = own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.certificate, &key.PublicKey, issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	if own.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return own
}

func authority(t *testing.T) *pair {
	t.Helper()
	return issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
}

func (p *pair) pem(t *testing.T) (certificate, key []byte) {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// secureServer starts an engine with TLS and returns its address.
func secureServer(t *testing.T, ca *pair, auth tls.ClientAuthType) string {
	t.Helper()
	own := issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca)
	clients := x509.NewCertPool()
	clients.AddCert(ca.certificate)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{own.certificate.Raw}, PrivateKey: own.key}},
		ClientAuth:   auth, ClientCAs: clients,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") })}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// certificates writes the files of DOCKER_CERT_PATH to a directory. The client's
// pair may be nil.
func certificates(t *testing.T, dir string, ca, client *pair) string {
	t.Helper()
	text, _ := ca.pem(t)
	files := map[string][]byte{"ca.pem": text}
	if client != nil {
		files["cert.pem"], files["key.pem"] = client.pem(t)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTLS(t *testing.T) {
	ca, stranger := authority(t), authority(t)
	client := issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca)
	open, closed := secureServer(t, ca, tls.NoClientCert), secureServer(t, ca, tls.RequireAndVerifyClientCert)
	with := certificates(t, t.TempDir(), ca, client)
	without := certificates(t, t.TempDir(), ca, nil)
	wrong := certificates(t, t.TempDir(), stranger, client)
	home := t.TempDir()
	certificates(t, home+"/.docker", ca, client)
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"DOCKER_TLS_VERIFY":     {map[string]string{"DOCKER_HOST": "tcp://" + closed, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": with}, ""},
		"DOCKER_TLS":            {map[string]string{"DOCKER_HOST": "tcp://" + closed, "DOCKER_TLS": "1", "DOCKER_CERT_PATH": with}, ""},
		"https":                 {map[string]string{"DOCKER_HOST": "https://" + closed, "DOCKER_CERT_PATH": with}, ""},
		"the user's":            {map[string]string{"DOCKER_HOST": "https://" + closed, "HOME": home}, ""},
		"no client certificate": {map[string]string{"DOCKER_HOST": "https://" + open, "DOCKER_CERT_PATH": without}, ""},
		"one is required":       {map[string]string{"DOCKER_HOST": "https://" + closed, "DOCKER_CERT_PATH": without}, "certificate required"},
		"another authority":     {map[string]string{"DOCKER_HOST": "https://" + open, "DOCKER_CERT_PATH": wrong}, "unknown authority"},
		"no TLS":                {map[string]string{"DOCKER_HOST": "http://" + open}, "HTTP status 400"},
	} {
		e, err := New(c.env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, err = e.List(t.Context(), false)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "TLS")) {
			t.Errorf("%s: %v", name, err)
		}
		e.Close()
	}
	broken := certificates(t, t.TempDir(), ca, client)
	if err := os.WriteFile(broken+"/key.pem", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := certificates(t, t.TempDir(), ca, client)
	if err := os.WriteFile(empty+"/ca.pem", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		broken: "the client certificate in " + broken + " can't be used", empty: empty + "/ca.pem contains no certificate", "/nonexistent": "TLS is on for DOCKER_HOST, but the CA certificate can't be read",
	} {
		if _, err := New(map[string]string{"DOCKER_HOST": "https://docker", "DOCKER_CERT_PATH": dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for host, want := range map[string]string{"https://docker": "tcp://docker:2376", "https://docker:1": "tcp://docker:1"} {
		if e, err := New(map[string]string{"DOCKER_HOST": host, "DOCKER_CERT_PATH": with}); err != nil || e.String() != want {
			t.Errorf("%s: %s, %v", host, e, err)
		}
	}
}

// Attach works with an engine that does not upgrade the connection. It fails if the
// answer comes after the end of ctx.
func TestAttach(t *testing.T) {
	late := make(chan struct{})
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.RawQuery != "stream=1&stdin=1&stdout=1&stderr=1" || r.Header.Get("Upgrade") != "tcp" {
			t.Errorf("%s %s, %v", r.Method, r.URL, r.Header)
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if r.URL.Path == "/containers/late/attach" {
			<-late
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
		text := make([]byte, 4)
		_, _ = io.ReadFull(conn, text)
		_, _ = conn.Write(frame(1, string(text)))
	})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := e.Attach(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	cancel() // this must not end the stream
	if _, err := io.WriteString(s, "ping"); err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(s); err != nil || string(text) != "ping" {
		t.Errorf("%q, %v", text, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := e.Attach(ctx, "late"); !errors.Is(err, context.Canceled) {
		t.Errorf("late: %v", err)
	}
	close(late)
}

// After a failure no connection stays open.
func TestFailuresCloseTheirConnection(t *testing.T) {
	ended := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	testbed.Accept(t, l, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") // invalid for TLS
		_, _ = io.Copy(io.Discard, c)
		ended <- struct{}{}
	})
	ca := authority(t)
	for _, env := range []map[string]string{
		{"DOCKER_HOST": "http://" + l.Addr().String()},
		{"DOCKER_HOST": "https://" + l.Addr().String(), "DOCKER_CERT_PATH": certificates(t, t.TempDir(), ca, nil)},
	} {
		e, err := New(env)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Attach(t.Context(), "x"); err == nil {
			t.Errorf("%s: attached", e)
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: a connection stays open", e)
		}
	}
}

func TestAttachmentsThatEndAtOnce(t *testing.T) {
	for name, answer := range map[string]func(net.Conn){
		"before the request": func(net.Conn) {},
		"after it":           func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<10)) },
		"in the answer": func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(c, "HTTP/1.1 101")
		},
	} {
		l := testbed.ListenUnix(t)
		testbed.Accept(t, l, answer)
		e, err := New(map[string]string{"DOCKER_HOST": "unix://" + l.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 { // the end may be noticed at the write or at the read
			var u *Unreached
			if s, err := e.Attach(t.Context(), "x"); s != nil || !errors.As(err, &u) || u.Op == "" {
				t.Errorf("%s: %v, %v", name, s, err)
			}
		}
	}
}

// Stat and File read what the engine's archive requests answer.
func TestArchive(t *testing.T) {
	const content = "#!/bin/sh"
	stat := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	whole := stat(`{"name":"x","size":9,"mode":493,"linkTarget":""}`)
	archive := func(header tar.Header, text string) string {
		var b strings.Builder
		w := tar.NewWriter(&b)
		if err := errors.Join(w.WriteHeader(&header), func() error { _, err := io.WriteString(w, text); return err }(), w.Flush()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	regular := archive(tar.Header{Name: "x", Size: 9}, content)
	for name, c := range map[string]struct {
		stat, body string
		want       string // in the error
	}{
		"a file":            {whole, regular, ""},
		"by Podman":         {stat(`{"name":"x","size":9,"mode":493,"linkTarget":"/usr/x"}`), regular, ""},
		"elsewhere":         {stat(`{"name":"x","size":9,"mode":493,"linkTarget":"/usr/y"}`), regular, ErrNotRegular.Error()},
		"a link":            {stat(`{"name":"x","size":9,"mode":134218239,"linkTarget":"/usr/y"}`), archive(tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}, ""), ErrNotRegular.Error()},
		"a directory":       {stat(`{"name":"x","size":9,"mode":2147484141,"linkTarget":""}`), archive(tar.Header{Name: "x/", Typeflag: tar.TypeDir}, ""), ErrNotRegular.Error()},
		"two files":         {whole, regular + archive(tar.Header{Name: "y", Size: 9}, content), errMoreFiles.Error()},
		"another name":      {whole, archive(tar.Header{Name: "y", Size: 9}, content), ErrNotRegular.Error()},
		"another size":      {whole, archive(tar.Header{Name: "x", Size: 1}, "#"), ErrNotRegular.Error()},
		"no description":    {"", regular, noEngine},
		"no base64":         {"{}", regular, noEngine},
		"not JSON":          {stat("x"), regular, noEngine},
		"an empty archive":  {whole, "", "EOF"},
		"not an archive":    {whole, strings.Repeat("x", 1024), "invalid tar header"},
		"half of a header":  {whole, regular[:100], "unexpected EOF"},
		"half of a content": {whole, regular[:515], "unexpected EOF"},
	} {
		e := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RequestURI() != "/containers/a%2Fb/archive?path=%2Fusr%2Fx" {
				t.Errorf("%s: requested %s", name, r.URL.RequestURI())
			}
			w.Header().Set("X-Docker-Container-Path-Stat", c.stat)
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(w, c.body)
			}
		})
		got, err := e.Stat(t.Context(), "a/b", "/usr/x")
		if bad := c.want == noEngine; bad != (err != nil) || !bad && (got.Name != "x" || got.Size != 9) {
			t.Errorf("%s: stat %+v, %v", name, got, err)
		}
		_, file, err := e.File(t.Context(), "a/b", "/usr/x")
		text := ""
		if err == nil {
			var all []byte
			all, err = io.ReadAll(file)
			text = string(all)
			file.Close()
		}
		if c.want == "" && (err != nil || text != content) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

const noEngine = "is not that of a container engine"

// An engine that stops in the middle of a file is named in the error.
func TestArchiveThatStops(t *testing.T) {
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString([]byte(`{"name":"x","size":9,"mode":493}`)))
		files := tar.NewWriter(w)
		if err := errors.Join(files.WriteHeader(&tar.Header{Name: "x", Size: 9}), http.NewResponseController(w).Flush()); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, file, err := e.File(ctx, "x", "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	_, err = io.ReadAll(file)
	var unreached *Unreached
	if !errors.As(err, &unreached) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("%v", err)
	}
}
