package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	composecli "github.com/compose-spec/compose-go/v2/cli"
)

// Which files .env are read, compared with Compose's own options as docker compose sets
// them: https://github.com/docker/compose/blob/v2.40.3/cmd/compose/compose.go.
func TestEnvFilesAreThoseOfCompose(t *testing.T) {
	silence(t)
	const text = "services:\n  web:\n    image: x\n    ports: ['${HERE:-1}:80', '${SUB:-2}:81', '${BOTH:-3}:82', '${MORE:-4}:83']\n"
	files := map[string]string{
		".env": "HERE=1001\nBOTH=1003\nREF=1\n", "sub/" + ".env": "SUB=1002\nBOTH=1${REF}04\nMORE=${HERE:-1005}\n", "more.env": "MORE=1006\n", "two.env": "MORE=1007\nHERE=${MORE}\n",
		"compose.yaml": text, "sub/compose.yaml": text, "sub/below/x": "",
	}
	for _, c := range []struct {
		name     string
		dir      string // in which it is started
		env      []string
		files    []string // named
		envFiles []string
		dotEnv   string // written into .env
	}{
		{name: "here"},
		{name: "a file elsewhere", files: []string{"sub/compose.yaml"}},
		{name: "a file elsewhere, then one here", files: []string{"sub/compose.yaml", "compose.yaml"}},
		{name: "COMPOSE_FILE", env: []string{"COMPOSE_FILE=sub/compose.yaml"}},
		{name: "COMPOSE_FILE in .env", dotEnv: "COMPOSE_FILE=sub/compose.yaml\nBOTH=1009\n"},
		{name: "COMPOSE_FILE and a variable", env: []string{"COMPOSE_FILE=sub/compose.yaml", "BOTH=1008"}},
		{name: "in a parent", dir: "sub/below"},
		{name: "in a parent, with .env here", dir: "sub/below", dotEnv: "BOTH=1010\n"},
		{name: "--env-file", envFiles: []string{"more.env"}},
		{name: "several", envFiles: []string{"more.env", "two.env"}},
		{name: "COMPOSE_ENV_FILES", env: []string{"COMPOSE_ENV_FILES=more.env,two.env"}},
		{name: "both", env: []string{"COMPOSE_ENV_FILES=more.env"}, envFiles: []string{"two.env"}},
		{name: "disabled", env: []string{"COMPOSE_DISABLE_ENV_FILE=1"}},
		{name: "disabled, elsewhere", env: []string{"COMPOSE_DISABLE_ENV_FILE=true", "COMPOSE_FILE=sub/compose.yaml"}},
		{name: "not disabled", env: []string{"COMPOSE_DISABLE_ENV_FILE=false"}},
		{name: "disabled, with --env-file", env: []string{"COMPOSE_DISABLE_ENV_FILE=true"}, envFiles: []string{"more.env"}},
		{name: "invalid", env: []string{"COMPOSE_DISABLE_ENV_FILE=yes"}},
		{name: "no such file", envFiles: []string{"none.env"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			writeFiles(t, root, files)
			if c.dotEnv != "" {
				writeFiles(t, filepath.Join(root, c.dir), map[string]string{".env": c.dotEnv})
			}
			t.Chdir(filepath.Join(root, c.dir))
			env := map[string]string{}
			for _, e := range c.env {
				name, value, _ := strings.Cut(e, "=")
				env[name] = value
				t.Setenv(name, value) // the library reads some of them itself
			}

			envFiles := c.envFiles
			if list := env["COMPOSE_ENV_FILES"]; len(envFiles) == 0 && list != "" { // docker compose reads it
				envFiles = strings.Split(list, ",")
			}
			options, err := composecli.NewProjectOptions(c.files, composecli.WithEnv(c.env),
				composecli.WithEnvFiles(envFiles...), composecli.WithDotEnv, composecli.WithConfigFileEnv, composecli.WithDefaultConfigPath,
				composecli.WithEnvFiles(envFiles...), composecli.WithDotEnv, composecli.WithDefaultProfiles())
			var want []string
			if err == nil {
				project, e := options.LoadProject(t.Context())
				if err = e; err == nil {
					for _, p := range project.Services["web"].Ports {
						want = append(want, "web any "+p.Published+"/tcp")
					}
				}
			}

			o := Options{Getenv: func(name string) (string, bool) { value, ok := env[name]; return value, ok }, EnvFiles: c.envFiles}
			file, found := "", []problem(nil)
			if len(c.files) > 0 {
				o.SetProject(c.files)
				file = c.files[0]
			} else {
				var d Discovered
				d, found = discover(".", o)
				o.SetDiscovered(".", d)
				file = d.File
			}
			var got []string
			if len(found) == 0 {
				var all []Manifest
				all, found = load([]string{file}, nil, o)
				for _, m := range all {
					got = portsOf(m)
				}
			}
			slices.Sort(want)
			if want = slices.Compact(want); (err == nil) != (len(found) == 0) || err == nil && !slices.Equal(got, want) {
				t.Errorf("got  %q, %v\nwant %q, %v", got, lines(withoutKinds(found)), want, err)
			}
			t.Logf("%q %v", want, err)
		})
	}
}

// A directory with the name .env is no file of variables.
func TestDirectoryNamedDotEnv(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir(".env", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, ".", map[string]string{"compose.yaml": "include: [sub/a.yml]\n", "sub/a.yml": web, "sub/" + ".env/x": ""})
	if all, found := Load([]string{"compose.yaml"}, nil, Options{}); len(found) > 0 || len(all[0].Ports) != 1 {
		t.Errorf("%v %v", all, found)
	}
}
