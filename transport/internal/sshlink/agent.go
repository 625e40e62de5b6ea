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
)

// keyAgent is a connection to the user's agent, for one login.
type keyAgent struct {
	ctx    context.Context
	conn   net.Conn
	budget time.Duration
	failed error // at its last word
}

func openAgent(ctx context.Context, socket string, budget time.Duration) (*keyAgent, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		var failed *net.OpError
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("the agent can't be reached at SSH_AUTH_SOCK: %w", err)
	}
	context.AfterFunc(ctx, func() { conn.Close() }) // at the latest when the login has ended
	return &keyAgent{ctx: ctx, conn: conn, budget: budget}, nil
}

// keys are the agent's, in its order.
func (a *keyAgent) keys() ([]key, error) {
	signers, err := agent.NewClient(a.conn).Signers()
	if err != nil {
		return nil, a.explain("list its keys", err)
	}
	var all []key
	for _, s := range signers {
		signer, able := s.(ssh.AlgorithmSigner)
		public, known := s.PublicKey().(*agent.Key)
		if able && known {
			all = append(all, key{fmt.Sprintf("the agent's %q", cut(public.Comment)), agentSigner{signer, a}})
		}
	}
	return all, nil
}

func (a *keyAgent) explain(what string, err error) error {
	if a.ctx.Err() != nil {
		return fmt.Errorf("the agent gave no answer within %s", a.budget)
	}
	return fmt.Errorf("the agent can't %s: %s", what, brief(err))
}

// agentSigner remembers why the agent did not sign.
type agentSigner struct {
	ssh.AlgorithmSigner
	agent *keyAgent
}

func (s agentSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signature, err := s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err != nil {
		s.agent.failed = s.agent.explain("sign", err)
	}
	return signature, err
}
