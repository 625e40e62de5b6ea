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

// What is wrong in a file of variables has its place there, and no value is shown.
func TestDotEnvProblemsHaveAPlace(t *testing.T) {
	const line = "not a line of a .env file: want NAME=value\n"
	const quote = "this quote is not closed: write another one after the value\n"
	const value = "the variables in this value can't be replaced: want ${NAME} or ${NAME:-value}, or single quotes around text with a dollar sign\n"
	for text, want := range map[string]string{
		"A=1\nB C\n":                              "2:1: " + line,
		"A='x\ny'\r\n\r\n  secret?=1":             "4:9: " + line,
		"\ufeff# é\n\ufeffB=1":                    "2:1: " + line,
		"\ufeff!":                                 "1:1: " + line,
		"A=1\nexport ":                            "2:1: " + line,
		"export \r":                               "1:1: " + line,
		"A=\"secret":                              "1:3: " + quote,
		"é=1\né = 'secret\n\nB=\"":                "2:5: " + quote,
		"A=1\nB='x' # a comment\nC=secret${A\n":   "3:3: " + value,
		"export A=1\nB: \"${NONE:?set it}\"\nC=1": "2:4: " + value,
		"A=$":                             "",
		"COMPOSE_FILE=a\nCOMPOSE_FILE=\r": "",
	} {
		t.Chdir(t.TempDir())
		writeFiles(t, ".", map[string]string{"compose.yaml": "include: [{path: a.yml, env_file: my.env}]\n", "a.yml": web, "my.env": text})
		at := func(file string) string {
			if want == "" {
				return ""
			}
			return file + ":" + want
		}
		if _, found := Load([]string{"compose.yaml"}, nil, Options{}); lines(found) != at("my.env") {
			t.Errorf("%q, included: got %q, want %q", text, lines(found), at("my.env"))
		}
		if _, found := Discover(".", Options{EnvFiles: []string{"my.env"}}); lines(found) != at("my.env") {
			t.Errorf("%q, by --env-file: got %q, want %q", text, lines(found), at("my.env"))
		}
		writeFiles(t, ".", map[string]string{".env": text})
		if _, found := Discover(".", Options{}); lines(found) != at(".env") {
			t.Errorf("%q, beside it: got %q, want %q", text, lines(found), at(".env"))
		}
	}
}

// COMPOSE_FILE has the place of the file that sets it last.
func TestPlaceOfComposeFile(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, ".", map[string]string{"a.env": "COMPOSE_FILE=a.yml\n", "b.env": "A=1\nCOMPOSE_FILE=a.yml:../$A\n", "c.env": "B=1\n"})
	want := "b.env:2:14: COMPOSE_FILE names \"../1\", which is outside of this directory: name the file on the command line\n"
	if _, found := Discover(".", Options{EnvFiles: []string{"a.env", "b.env", "c.env"}}); lines(found) != want {
		t.Errorf("got %q, want %q", lines(found), want)
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
