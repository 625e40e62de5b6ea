//go:build linux || darwin

package host

import "fmt"

// What one search for holders may find. Anybody can give a socket to as many
// processes as he may start.
const (
	holdersOfSocket = 1024
	holdersOfSearch = MostHolders // each socket may have one more
)

// moreHolders is the gap of a search that found more.
func moreHolders() Gap {
	return Gap{
		What: fmt.Sprintf("there are more holders than are listed: at most %d of a socket, and about %d of all sockets", holdersOfSocket, holdersOfSearch),
		Kind: GapHolders,
	}
}
