package netsh

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/port"
)

func TestParseDynamic(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want port.Range
	}{
		"English": {"\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\nStart Port      : 49152\r\nNumber of Ports : 16384\r\n\r\n", port.Range{First: 49152, Last: 65535}},
		"German":  {"\r\nDynamischer Portbereich f\x81r Protokoll tcp\r\n---------------------------------\r\nStartport      : 1024\r\nAnzahl von Ports : 64511\r\n\r\n", port.Range{First: 1024, Last: 65534}},
		"French":  {"Plage de ports dynamique du protocole tcp\n---------\nPort de d\x82marrage   : 40000\nNombre de ports : 255\n", port.Range{First: 40000, Last: 40254}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseDynamic(c.text)
			if err != nil || got != c.want {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
	for name, text := range map[string]string{
		"nothing":     "",
		"an error":    "The request is not supported.\r\n",
		"one number":  "Start Port      : 49152\r\n",
		"beyond":      "Start Port : 49152\nNumber of Ports : 16385\n",
		"not numbers": "Start Port : 49152x\nNumber of Ports : -1\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseDynamic(text); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestParseExcluded(t *testing.T) {
	const head = "\r\nProtocol tcp Port Exclusion Ranges\r\n\r\nStart Port    End Port      \r\n----------    --------      \r\n"
	const foot = "\r\n* - Administered port exclusions.\r\n\r\n"
	for name, c := range map[string]struct {
		text string
		want port.Set
	}{
		"ranges":    {head + "        80          80      \r\n      5357        5357      \r\n     50000       50059     *\r\n" + foot, port.Set{port.One(80), port.One(5357), {First: 50000, Last: 50059}}},
		"none":      {head + foot, nil},
		"last port": {head + "     65535       65535\r\n" + foot, port.Set{port.One(65535)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseExcluded(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, text := range map[string]string{
		"nothing":   "",
		"no table":  "The following command was not found: int ipv4 show excludedportrange.\r\n",
		"backwards": head + "  90  80\r\n",
		"too big":   head + "  80  70000\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseExcluded(text); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}
