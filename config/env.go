package config

import (
	"cmp"
	"strings"
)

// DefaultEnv returns the variable that gets the port of a need of that name, unless
// the need has one of its own: WEB_PORT for web.
func DefaultEnv(name string) string {
	variable := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, name) + "_PORT"
	if '0' <= variable[0] && variable[0] <= '9' {
		variable = "P_" + variable
	}
	return variable
}

// Variable returns the environment variable that gets the need's port.
func (p Port) Variable() string { return cmp.Or(p.Env, DefaultEnv(p.Name)) }
