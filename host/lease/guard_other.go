//go:build !linux

package lease

// guardTCP makes sure that nobody has a TCP port, and holds nothing. No socket can be
// held that leaves the port to servers: the BSDs and macOS refuse a second one on the
// same address unless both set SO_REUSEPORT (in_pcbbind), and on Windows only
// SO_REUSEADDR shares an address, which servers do not set there, because it takes
// ports away.
func guardTCP(n uint16, _ *lingering) ([]func(), error) { return nil, tryTCP(n) }

// lingering is nothing where a port is tried as servers bind it.
type lingering struct{}

// guardUDP does nothing.
func guardUDP(uint16, *lingering) ([]func(), error) { return nil, nil }
