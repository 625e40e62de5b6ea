//go:build linux

package testbed

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// SilentAgent accepts connections and never answers. It returns the name of its socket.
func SilentAgent(t *testing.T) string {
	return serveAgent(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// LateAgent lists keys, and does not sign before the test is over. It returns the name
// of its socket.
func LateAgent(t *testing.T, keys agent.Agent) string {
	return serveAgent(t, func(c net.Conn) { _ = agent.ServeAgent(lateAgent{keys, t.Context().Done()}, c) })
}

func serveAgent(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l := ListenUnix(t)
	Accept(t, l, talk)
	return l.Addr().String()
}

type lateAgent struct {
	agent.Agent
	over <-chan struct{}
}

func (a lateAgent) SignWithFlags(ssh.PublicKey, []byte, agent.SignatureFlags) (*ssh.Signature, error) {
	<-a.over
	return nil, errors.New("late")
}

func (lateAgent) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}
