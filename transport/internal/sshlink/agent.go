package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/org/portcheck/transport/internal/remote"
)

// keyAgent is a connection to the user's ssh-agent, for one login.
type keyAgent struct {
	ctx     context.Context
	conn    net.Conn
	timeout time.Duration // of the login, for messages
	failed  error         // of the last signature
	late    bool          // the time was up before it answered
}

func openAgent(ctx context.Context, socket string, timeout time.Duration) (*keyAgent, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		var failed *net.OpError
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("the agent can't be reached at SSH_AUTH_SOCK: %w", err)
	}
	context.AfterFunc(ctx, func() { conn.Close() }) // ctx ends with the login
	return &keyAgent{ctx: ctx, conn: conn, timeout: timeout}, nil
}

// keys returns the agent's keys, in its order.
func (a *keyAgent) keys() ([]key, error) {
	signers, err := agent.NewClient(a.conn).Signers()
	if err != nil {
		return nil, a.agentError("list its keys", err)
	}
	var all []key
	for _, s := range signers {
		signer, isSigner := s.(ssh.AlgorithmSigner)
		public, isKey := s.PublicKey().(*agent.Key)
		if isSigner && isKey {
			all = append(all, key{fmt.Sprintf("the agent's %q", remote.Shorten(public.Comment)), agentSigner{signer, a}})
		}
	}
	return all, nil
}

func (a *keyAgent) agentError(what string, err error) error {
	if a.ctx.Err() != nil {
		a.late = true
		return fmt.Errorf("the agent did not answer within %s", a.timeout)
	}
	return fmt.Errorf("the agent can't %s: %s", what, brief(err))
}

// agentSigner records the error of a signature in its agent.
type agentSigner struct {
	ssh.AlgorithmSigner
	agent *keyAgent
}

func (s agentSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signature, err := s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err != nil {
		s.agent.failed = s.agent.agentError("sign", err)
	}
	return signature, err
}
