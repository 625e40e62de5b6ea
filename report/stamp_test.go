package report

import (
	"bytes"
	"strings"
	"testing"
)

// The time and the host are wherever a format has a place for them.
func TestTimeAndHost(t *testing.T) {
	for format, want := range map[string][]string{
		"json":  {`"generated": "2026-01-02T03:04:05Z"`, `"hostname": "ci-1<b>.example"`},
		"junit": {`timestamp="2026-01-02T03:04:05" hostname="ci-1&lt;b&gt;.example"`},
		"sarif": {`"endTimeUtc": "2026-01-02T03:04:05Z"`, `"machine": "ci-1<b>.example"`},
		"html":  {"2026-01-02 03:04:05 UTC, host ci-1&lt;b&gt;.example</p>\n</header>", "; host ci-1&lt;b&gt;.example; linux"},
	} {
		var stampedOut, plain bytes.Buffer
		if err := Formats[format](&stampedOut, stamped(), Options{}); err != nil {
			t.Fatal(err)
		}
		if err := Formats[format](&plain, reportOf(stamped().Results...), Options{}); err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(stampedOut.String(), text) {
				t.Errorf("%s: no %s in\n%s", format, text, stampedOut.String())
			}
		}
		if strings.Contains(plain.String(), "2026-01-02") || strings.Contains(plain.String(), "0001") || strings.Contains(plain.String(), "ostname") {
			t.Errorf("%s: a time or a host that is not known:\n%s", format, plain.String())
		}
	}
}
