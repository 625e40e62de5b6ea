package config

import "testing"

func TestIsFlag(t *testing.T) {
	for p, want := range map[Position]bool{
		{File: "--port"}:                     true,
		{File: "--port", Line: 3, Column: 1}: false, // a file of this name
		{File: "portcheck.yml"}:              false, // a file that could not be read
		{File: "portcheck.yml", Line: 3}:     false,
		{File: "-"}:                          false, // stdin
		{File: "a--port"}:                    false,
		{}:                                   false,
	} {
		if got := p.IsFlag(); got != want {
			t.Errorf("%+v: %t", p, got)
		}
	}
}
