// Package netsh parses what Windows' netsh prints about ports. The words are in
// the user's language, so only numbers and rulers are parsed.
package netsh

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/port"
)

// ParseDynamic parses the output of "netsh int ipv4 show dynamicport tcp":
//
//	Start Port      : 49152
//	Number of Ports : 16384
func ParseDynamic(text string) (port.Range, error) {
	var numbers []uint16
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if n, err := port.ParseNumber(fields[len(fields)-1]); err == nil {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) != 2 {
		return port.Range{}, fmt.Errorf("want a first port and a count, found %d numbers", len(numbers))
	}
	last := int(numbers[0]) + int(numbers[1]) - 1
	if last > port.MaxPort {
		return port.Range{}, fmt.Errorf("%d ports from %d on end beyond %d", numbers[1], numbers[0], port.MaxPort)
	}
	return port.Range{First: numbers[0], Last: uint16(last)}, nil
}

// ParseExcluded parses the output of "netsh int ipv4 show excludedportrange
// protocol=tcp", where a star marks the ranges of an administrator:
//
//	Start Port    End Port
//	----------    --------
//	        80          80
//	     50000       50059     *
//
// A text without the ruler is an error. Without a line below the ruler, no port
// is reserved.
func ParseExcluded(text string) (port.Set, error) {
	var set port.Set
	ruled := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if isRule(fields[0]) && isRule(fields[1]) {
			ruled = true
			continue
		}
		if !ruled || !startsWithDigit(fields[0]) || !startsWithDigit(fields[1]) {
			continue
		}
		r, err := port.ParseRange(fields[0] + "-" + fields[1])
		if err != nil {
			return nil, err
		}
		set = append(set, r)
	}
	if !ruled {
		return nil, fmt.Errorf("no table of port ranges in %.100q", text)
	}
	return set, nil
}

func isRule(s string) bool { return strings.Trim(s, "-") == "" }

func startsWithDigit(s string) bool { return s[0] >= '0' && s[0] <= '9' }
