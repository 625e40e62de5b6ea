package check

import (
	"context"
	"net"
	"testing"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
)

// counted counts the requests, each of which is a round trip over SSH.
type counted struct {
	host.Local
	requests int
}

func (c *counted) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	c.requests++
	return c.Local.Probe(ctx, req)
}

func (c *counted) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	c.requests++
	return host.Hold(ctx, &c.Local, req)
}

// What the job has leased instead of a port that is taken is known from the one request.
func TestTakenPortsTakeOneRequest(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &counted{}
	r := run(t, []Need{needOf("a.yml", "x"), needOf("a.yml", "y", ports(8081, 8081))}, Options{Job: "mine"}, targetOf("local", c))
	if got := r.Results[0]; got.Status != InUse || c.requests != 1 {
		t.Errorf("%d requests: %s: %s", c.requests, got.Status, got.Message)
	}
}
