package check

import (
	"fmt"

	"github.com/org/portcheck/config"
)

// ForOverride returns needs as an override file of Compose can hold their ports, or
// what is wrong with the first one of which it can't.
func ForOverride(needs []Need) ([]Need, *config.Problem) {
	var all []Need
	for _, n := range needs {
		wrong := ""
		switch first := needs[0].Service; {
		case n.Service == nil:
			wrong = n.title() + " is not published by a Compose file, and the format compose is an override file of Compose: leave it out with --skip, or use another format, such as dotenv"
		case first != nil && (n.Service.File != first.File || n.Project != needs[0].Project):
			wrong = fmt.Sprintf("%s and %s are of two Compose projects, and an override file is for one: name one of them", needs[0].title(), n.title())
		case n.Replicas > 1 && !n.Service.OnHost:
			wrong = fmt.Sprintf("%s is published by %d replicas, which need a port each, and assign chooses one: leave it out with --skip %s, so that the override file keeps what the Compose file has for it (a range such as 8000-8009, from which the engine chooses)", n.title(), n.Replicas, n.Name)
		}
		if wrong != "" {
			return nil, &config.Problem{Position: n.At, Message: wrong}
		}
		if n.Service.OnHost { // its app binds the port itself
			n.Range = nil
		}
		all = append(all, n)
	}
	return all, nil
}
