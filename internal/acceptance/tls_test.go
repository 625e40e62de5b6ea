//go:build linux

package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/org/portcheck/check"

	"github.com/org/portcheck/internal/testbed"
)

// TestTLS checks a step that uses the engine by TLS, and that a certificate of
// another authority is refused.
func TestTLS(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	gateway := bridgeAddress(t)
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	client := ours.issue(t, nil)
	certs := temp(t)
	key, err := x509.MarshalECPrivateKey(client.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: ours.cert.Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: client.Certificate[0]},
		"key.pem":  {Type: "EC PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(certs, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	at := func(a authority) step {
		address := serveTLS(t, gateway, &tls.Config{
			Certificates: []tls.Certificate{a.issue(t, net.ParseIP(gateway))},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12,
		})
		return step{
			image: v.image, socket: "-", manifest: manifest(need("web", p[0], "")),
			flags: []string{"-e", "DOCKER_HOST=tcp://" + address, "-e", "DOCKER_TLS_VERIFY=1", "-e", "DOCKER_CERT_PATH=/certs", "-v", certs + ":/certs:ro"},
		}
	}

	o := at(ours).run(t).want(t, 1)
	if target := o.target(t); target.Name != "runner" || target.Namespace.Kind != "host" {
		t.Errorf("target %+v", target)
	}
	if h := holder(t, o.status(t, "web", check.InUse)); h.PID != pid {
		t.Errorf("holder %+v, want pid %d", h, pid)
	}
	at(other).run(t).want(t, 3).reason(t, "certificate")
}

// bridgeAddress returns the machine's address on the default network of
// containers.
func bridgeAddress(t *testing.T) string {
	t.Helper()
	bridge, err := net.InterfaceByName(docker(t, "network", "inspect", "bridge", "--format", `{{index .Options "com.docker.network.bridge.name"}}`))
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := bridge.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP.To4(); ip != nil {
			return ip.String()
		}
	}
	t.Fatalf("%s has no address: %v", bridge.Name, addresses)
	return ""
}

// serveTLS forwards connections with a client certificate to the engine. It returns
// its address.
func serveTLS(t *testing.T, ip string, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", net.JoinHostPort(ip, "0"), config)
	if err != nil {
		t.Fatal(err)
	}
	testbed.Accept(t, l, func(c net.Conn) {
		if c.(*tls.Conn).Handshake() == nil {
			forward(c, engineSocket)
		}
	})
	return l.Addr().String()
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// issue returns a certificate for a server at ip, or for a client if ip is nil.
func (a authority) issue(t *testing.T, ip net.IP) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if ip != nil {
		template.IPAddresses, template.ExtKeyUsage = []net.IP{ip}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
