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

func BenchmarkCompose(b *testing.B) {
	var text strings.Builder
	text.WriteString("x-base: &base {restart: always, labels: [a=b]}\nservices:\n")
	for i := range 200 {
		fmt.Fprintf(&text, "  s%d:\n    <<: *base\n    image: x:${TAG:-1}\n    environment: {A: b}\n    ports: ['%d:80', '127.0.0.1:${P:-%d}:81']\n", i, 10000+i, 20000+i)
	}
	for b.Loop() { // at most 20 ms
		if m, bad := parse("compose.yaml", []byte(text.String()), Options{}); len(bad) > 0 || len(m.Ports) != 400 {
			b.Fatal(bad)
		}
	}
}
