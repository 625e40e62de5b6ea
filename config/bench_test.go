package config

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	for _, needs := range []int{5, 100, 3000} {
		var text strings.Builder
		text.WriteString("version: 1\napp: bench\nports:\n")
		for i := range needs {
			fmt.Fprintf(&text, "  - {name: need-%d, port: %d}\n", i, 1024+i)
		}
		data := []byte(text.String())
		b.Run(fmt.Sprintf("%d needs", needs), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, bad := parse("bench.yml", data, Options{}); len(bad) > 0 {
					b.Fatal(bad)
				}
			}
		})
	}
}
