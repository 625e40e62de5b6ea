package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/org/portcheck/internal/within"
)

func TestDiscoverCompose(t *testing.T) {
	for _, c := range []struct {
		name     string
		files    []string
		dir      string // in which it starts
		env      map[string]string
		dotEnv   string
		source   string
		bounds   bool // the directory that all are in
		want     Discovered
		problems string
	}{
		{name: "the first name", files: []string{"docker-compose.yaml", "docker-compose.yml", "compose.yml"}, want: Discovered{File: "compose.yml", Compose: true}},
		{name: "a manifest has precedence", files: []string{"compose.yaml", ".portcheck.yml"}, want: Discovered{File: ".portcheck.yml"}},
		{name: "in another directory than the manifest", files: []string{"a/x", "portcheck.yml", "compose.yaml"}, dir: "a", want: Discovered{File: "../compose.yaml", Compose: true, Above: true}},
		{name: "two levels above", files: []string{"a/b/x", "docker-compose.yml"}, dir: "a/b", bounds: true, want: Discovered{File: "../../docker-compose.yml", Compose: true, Above: true}},
		{
			name: "override", files: []string{"compose.yaml", "compose.override.yaml"}, want: Discovered{File: "compose.yaml", Compose: true, Overrides: []string{"compose.override.yaml"}},
		},
		{
			name: "override of another name", files: []string{"compose.yaml", "docker-compose.override.yml"}, want: Discovered{File: "compose.yaml", Compose: true, Overrides: []string{"docker-compose.override.yml"}},
		},
		{name: "COMPOSE_FILE", files: []string{"compose.yaml", "a.yml"}, env: map[string]string{"COMPOSE_FILE": "a.yml"}, want: Discovered{File: "a.yml", Compose: true}},
		{name: "COMPOSE_FILE has an empty value", files: []string{"compose.yaml"}, env: map[string]string{"COMPOSE_FILE": ""}, want: Discovered{File: "compose.yaml", Compose: true}},
		{
			name: "COMPOSE_FILE with several", files: []string{"compose.yaml"}, env: map[string]string{"COMPOSE_FILE": "a.yml,b.yml", "COMPOSE_PATH_SEPARATOR": ","},
			want: Discovered{File: "a.yml", Compose: true, Overrides: []string{"b.yml"}},
		},
		{name: "COMPOSE_FILE of .env", files: []string{"compose.yaml", "a/b.yml"}, dotEnv: "COMPOSE_FILE=a/b.yml\n", want: Discovered{File: "a/b.yml", Compose: true}},
		{
			name: "COMPOSE_FILE of .env leads elsewhere", files: []string{"compose.yaml"}, dotEnv: "COMPOSE_FILE=a.yml\r\n\r\nCOMPOSE_FILE = '/etc/passwd'\n",
			want: Discovered{Compose: true}, problems: ".env:3:16: COMPOSE_FILE names \"/etc/passwd\", which is outside of this directory: name the file on the command line\n",
		},
		{
			name: "source compose", files: []string{"portcheck.yml", "compose.yml"}, source: "compose", want: Discovered{File: "compose.yml", Compose: true},
		},
		{
			name: "source manifest", files: []string{"compose.yml"}, source: "manifest",
			problems: "no manifest in \".\": looked for portcheck.yml, portcheck.yaml, .portcheck.yml, .portcheck.yaml, .github/portcheck.yml\n",
		},
		{
			name: "source compose and none", files: []string{"portcheck.yml"}, source: "compose",
			problems: "no Compose file in \".\" and its parents: looked for compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, c.files...)
			o := Options{Source: c.source, Getenv: func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }}
			if c.bounds {
				o.Bounds = []within.Dir{bound(t, ".")}
			}
			if c.dir != "" {
				t.Chdir(c.dir)
			}
			if c.dotEnv != "" {
				if err := os.WriteFile(".env", []byte(c.dotEnv), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, found := Discover(".", o)
			c.want.File = filepath.FromSlash(c.want.File)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if lines(found) != c.problems {
				t.Errorf("got  %s\nwant %s", lines(found), c.problems)
			}
		})
	}
}

func bound(t *testing.T, dir string) within.Dir {
	t.Helper()
	b, err := within.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// In a job, files above the checkout are those of others.
func TestDiscoverComposeStaysWithinBounds(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "compose.yaml", "checkout/a/x")
	bounds := []within.Dir{bound(t, "checkout")}
	t.Chdir("checkout/a")
	if got, found := Discover(".", Options{Bounds: bounds}); got.File != "" || len(found) != 1 {
		t.Errorf("got %v, %v", got, lines(found))
	}
}
