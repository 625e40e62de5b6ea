//go:build linux || darwin

package host

import "fmt"

// holdersOfSocket is how many holders of a socket one search may find. Anybody can
// give a socket to as many processes as he may start.
const holdersOfSocket = 1024

// moreHolders is the gap of a search that found more.
func moreHolders(most int) Gap {
	return Gap{
		What: fmt.Sprintf("there are more holders than are listed: at most %d of a socket, and about %d of all sockets", holdersOfSocket, most),
		Kind: GapHolders,
	}
}
