package config

import (
	"errors"

	"gopkg.in/yaml.v3"
)

// text returns a scalar with its variables replaced. Messages show the text of the
// file and not the values of variables, which may be secrets.
func (c *compose) text(key string, n *yaml.Node) (string, bool) {
	n = c.follow(n)
	s, ok := c.scalar(key, "text", n)
	if !ok {
		return "", false
	}
	if len(s) > textMax {
		c.report(n, longText, key, textMax)
		return "", false
	}
	value, err := interpolate(s, c.scope.get, textMax)
	if required := (requiredError{}); errors.As(err, &required) {
		c.report(n, unsetVariable, key, quote(required.name), quote(required.reason))
		return "", false
	}
	switch {
	case errors.Is(err, errTooLong):
		c.report(n, longText, key, textMax)
		return "", false
	case err != nil:
		c.report(n, badVariable, key, quote(s))
		return "", false
	}
	return value, true
}
