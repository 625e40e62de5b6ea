package nat

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestAddressesWhileSomeGo checks that no address is left out because the kernel's list
// has moved while it was read. A machine that changes all the time may be unreadable.
func TestAddressesWhileSomeGo(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "ip")
	const passing, staying = 40, 4000
	var setup, comings strings.Builder
	for n := range passing + staying {
		fmt.Fprintf(&setup, "addr add 10.20.%d.%d/32 dev lo\n", n>>8, n&255)
	}
	for range 300 {
		for n := range passing {
			fmt.Fprintf(&comings, "addr del 10.20.0.%d/32 dev lo\n", n)
		}
		for n := range passing {
			fmt.Fprintf(&comings, "addr add 10.20.0.%d/32 dev lo\n", n)
		}
	}
	run(t, setup.String(), "ip", "-batch", "-")
	ctx, cancel := context.WithCancel(t.Context())
	changes := exec.CommandContext(ctx, "ip", "-batch", "-")
	changes.Stdin = strings.NewReader(comings.String())
	if err := changes.Start(); err != nil {
		t.Fatal(err)
	}
	check := func() error {
		m, err := readMachine(t.Context())
		if err != nil {
			return err
		}
		found := 0
		for _, i := range m.interfaces {
			for _, a := range i.addrs {
				if b := a.As16(); b[12] == 10 && int(b[14])<<8|int(b[15]) >= passing {
					found++
				}
			}
		}
		if found != staying {
			t.Fatalf("%d addresses, and %d are there", found, staying)
		}
		return nil
	}
	for range 100 {
		if err := check(); err != nil && !errors.Is(err, errChanged) {
			t.Fatal(err)
		}
	}
	cancel()
	_ = changes.Wait() // it was killed
	if err := check(); err != nil {
		t.Error(err)
	}
}
