package config

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/org/portcheck/internal/testbed"
)

// oneNeed is the smallest manifest of an app.
func oneNeed(app string) string {
	return "version: 1\napp: " + app + "\nports:\n  - {name: web, port: 8080}\n"
}

// files holds cases of problems with files and with several manifests. Each runs
// in a directory with its files.
var files = []struct {
	name  string
	files map[string]string // a directory if the name ends in /
	load  []string
	stdin string
	want  []string // the problems, one a line
}{
	{name: "missing", load: []string{"a.yml", "dir/b.yml"}, want: []string{"a.yml: no such file", "dir/b.yml: no such file"}},
	{name: "unreadable", load: []string{strings.Repeat("a", 300)}, want: []string{strings.Repeat("a", 300) + ": cannot be read: file name too long"}},
	{
		name: "directory", files: map[string]string{"conf/": ""}, load: []string{"conf"},
		want: []string{"conf: is a directory: name a file in it, or use --recursive"},
	},
	{name: "device", load: []string{os.DevNull}, want: []string{os.DevNull + ": is a device: want a regular file, or - for standard input"}},
	{name: "glob that matches nothing", load: []string{"*.yml"}, want: []string{"*.yml: no file matches this pattern"}},
	{
		name: "glob that only matches directories", files: map[string]string{"a.yml/": ""}, load: []string{"*.yml"},
		want: []string{"*.yml: no file matches this pattern"},
	},
	{name: "broken glob", load: []string{"[a"}, want: []string{"[a: is not a valid glob pattern: a [ is not closed, or a \\ ends it"}},
	{name: "deep glob", load: []string{"**/a.yml"}, want: []string{"**/a.yml: ** is not supported: use --recursive with a directory"}},
	{
		name: "too big", files: map[string]string{"a.yml": oneNeed("a") + "#" + strings.Repeat("x", 1<<20)}, load: []string{"a.yml"},
		want: []string{"a.yml: is larger than 1 MiB, the limit of a manifest"},
	},
	{
		name: "endless stdin", stdin: strings.Repeat("#\n", 1<<20), load: []string{"-"},
		want: []string{"-: is larger than 1 MiB, the limit of a manifest"},
	},
	{
		name: "errors of stdin and of files in the order of their names", stdin: "version: 1\nports: 1\n",
		files: map[string]string{"b.yml": oneNeed("b"), "a.yml": "version: 3\n"}, load: []string{"b.yml", "-", "a.yml"},
		want: []string{
			"-:2:8: ports: want a list of needs, each with name and port, not a number",
			"a.yml:1:1: ports is missing: want a list of needs, each with name and port",
			"a.yml:1:10: version: \"3\" is not supported: want 1",
		},
	},
	{
		name: "same need in two manifests", files: map[string]string{"a.yml": oneNeed("shop"), "b.yml": oneNeed("shop")}, load: []string{"*.yml"},
		want: []string{"b.yml:4:23: \"shop/web\" is also a need at a.yml:4:23: give each manifest its own app"},
	},
	{
		name:  "needs without a name in two manifests",
		files: map[string]string{"a.yml": "version: 1\napp: shop\nports: [{port: 1}]\n", "b.yml": "version: 1\napp: shop\nports: [{port: 2}]\n"}, load: []string{"*.yml"},
		want: []string{"a.yml:3:9: name is missing: every need has a name and a port", "b.yml:3:9: name is missing: every need has a name and a port"},
	},
	{
		name:  "needs without a valid app in two manifests",
		files: map[string]string{"a.yml": oneNeed("[]"), "b.yml": oneNeed("[]")}, load: []string{"*.yml"},
		want: []string{"a.yml:2:6: app: want text such as shop, not a list", "b.yml:2:6: app: want text such as shop, not a list"},
	},
	{
		name:  "same need in a file with a long name",
		files: map[string]string{strings.Repeat("a", 130): oneNeed("shop"), "b.yml": oneNeed("shop")}, load: []string{strings.Repeat("a", 130), "b.yml"},
		want: []string{"b.yml:4:23: \"shop/web\" is also a need at " + strings.Repeat("a", 120) + "...: give each manifest its own app"},
	},
	{
		name: "too many values", files: map[string]string{"a.yml": "version: 1\nx-a: [" + strings.Repeat("1,", 20_000) + "]\n"}, load: []string{"a.yml"},
		want: []string{"a.yml:2:39997: more than 20,000 values, the limit of a manifest"},
	},
	{
		name: "too many needs in one manifest", files: map[string]string{"a.yml": "version: 1\nports: [" + strings.Repeat("1,", 4_097) + "]\n"}, load: []string{"a.yml"},
		want: []string{"a.yml:2:8201: more than 4,096 needs, the limit of a run"},
	},
	{
		name: "too many needs in total", files: map[string]string{"a.yml": many("a", 2_000, "80"), "b.yml": many("b", 2_000, "80"), "c.yml": many("c", 97, "80")},
		load: []string{"a.yml", "b.yml", "c.yml"}, want: []string{"c.yml:100:23: more than 4,096 needs, the limit of a run"},
	},
	{
		name: "as many needs as allowed", files: map[string]string{"a.yml": many("a", 2_000, "80"), "b.yml": many("b", 2_000, "80"), "c.yml": many("c", 96, "80")},
		load: []string{"a.yml", "b.yml", "c.yml"},
	},
	{
		name: "too many ports", files: map[string]string{"a.yml": many("a", 1, "1-65535"), "b.yml": many("b", 2, "80")},
		load: []string{"a.yml", "b.yml"}, want: []string{"b.yml:5:22: more than 65,536 ports in total, the limit of a run"},
	},
	{
		name: "as many ports as allowed", files: map[string]string{"a.yml": many("a", 1, "1-65535"), "b.yml": many("b", 1, "80")},
		load: []string{"a.yml", "b.yml"},
	},
	{
		name: "too many targets", files: map[string]string{"a.yml": oneNeed("a") + "targets:\n" + numbered("  t%d: ssh://h\n", 257)}, load: []string{"a.yml"},
		want: []string{"a.yml:262:3: more than 256 targets, the limit of a manifest"},
	},
	{
		name: "too many addresses that overlap", files: map[string]string{"a.yml": strings.Replace(oneNeed("a"), "8080", "8080, address: [any,"+numbered("10.0.0.%d,", 64)+"]", 1)}, load: []string{"a.yml"},
		want: []string{"a.yml:4:663: address: more than 64 addresses, the limit of a need"},
	},
	{
		name: "too many addresses", files: map[string]string{"a.yml": oneNeed("a") + "defaults: {address: [" + numbered("10.0.0.%d,", 65) + "]}\n"}, load: []string{"a.yml"},
		want: []string{"a.yml:5:652: defaults.address: more than 64 addresses, the limit of a need"},
	},
	{
		name: "app of a directory with a name that is not printable", files: map[string]string{"a\u202eb/": "", "a\u202eb/c.yml": strings.Replace(oneNeed("x"), "app: x\n", "", 1)},
		load: []string{"a\u202eb/c.yml"},
		want: []string{"a\u202eb/c.yml:1:1: app is missing, and the directory's name \"a\\u202eb\" cannot be used instead: it contains characters that are not printable"},
	},
	{
		name: "app of a directory with a long name", files: map[string]string{strings.Repeat("d", 101) + "/": "", strings.Repeat("d", 101) + "/a.yml": strings.Replace(oneNeed("x"), "app: x\n", "", 1)},
		load: []string{strings.Repeat("d", 101) + "/a.yml"},
		want: []string{strings.Repeat("d", 101) + "/a.yml:1:1: app is missing, and the directory's name \"" + strings.Repeat("d", 40) + "...\" cannot be used instead: it is longer than 100 characters"},
	},
	{
		name: "app of a directory with a name of 100 characters", files: map[string]string{strings.Repeat("d", 100) + "/": "", strings.Repeat("d", 100) + "/a.yml": strings.Replace(oneNeed("x"), "app: x\n", "", 1)},
		load: []string{strings.Repeat("d", 100) + "/a.yml"},
	},
	{
		name: "problems of two manifests, and of both together", files: map[string]string{"b.yml": "version: 2\napp: shop\nports: [{name: a, port: 1}]\nx: 1\n", "a.yml": "version: 1\napp: shop\nports: [{name: a, port: 1}]\ny: 1\nz: 1\n"},
		load: []string{"b.yml", "a.yml"},
		want: []string{
			"b.yml:1:10: version: \"2\" is not supported: want 1",
			"b.yml:4:1: unknown key \"x\": want version, app, host, range, exclude, wait, allow, targets, defaults or ports",
			"a.yml:3:25: \"shop/a\" is also a need at b.yml:3:25: give each manifest its own app",
			"a.yml:4:1: unknown key \"y\": want version, app, host, range, exclude, wait, allow, targets, defaults or ports",
			"a.yml:5:1: unknown key \"z\": want version, app, host, range, exclude, wait, allow, targets, defaults or ports",
		},
	},
	{
		name: "one problem in the middle of a large file", files: map[string]string{"a.yml": "\n" + numbered("k%d: 1\n", 5_000) + "x: @\n" + numbered("l%d: 1\n", 5_000)}, load: []string{"a.yml"},
		want: []string{"a.yml:5002:1: not valid YAML: found character that cannot start any token: text that starts with @, % or a backtick needs quotes, and tabs cannot indent"},
	},
	{
		name: "a syntax error without a line in a large file", files: map[string]string{"a.yml": "x: 1\ny: *z\n" + numbered("k%d: 1\n", 10_000)}, load: []string{"a.yml"},
		want: []string{"a.yml:1:1: not valid YAML: unknown anchor 'z' referenced: text that starts with * needs quotes"},
	},
	{
		name: "a syntax error at the end of a large file", files: map[string]string{"a.yml": numbered("k%d: 1\n", 10_000) + "x: \"\n"}, load: []string{"a.yml"},
		want: []string{"a.yml:10001:1: not valid YAML: found unexpected end of stream: a quote is not closed"},
	},
	{
		name: "a syntax error at a character of two bytes", files: map[string]string{"a.yml": "a: \"b\" é"}, load: []string{"a.yml"},
		want: []string{"a.yml:1:8: not valid YAML: did not find expected key: is this line indented like the keys above it?"},
	},
	{
		name: "a syntax error before line breaks", files: map[string]string{"a.yml": "a: \"bé\r\r\n\n"}, load: []string{"a.yml"},
		want: []string{"a.yml:1:6: not valid YAML: found unexpected end of stream: a quote is not closed"},
	},
	{name: "CR alone at the ends of lines", files: map[string]string{"a.yml": strings.ReplaceAll(oneNeed("a"), "\n", "\r")}, load: []string{"a.yml"}},
	{
		name: "as many addresses as allowed, two of them overlap", files: map[string]string{"a.yml": strings.Replace(oneNeed("a"), "8080", "8080, address: [any,"+numbered("10.0.0.%d,", 63)+"]", 1)}, load: []string{"a.yml"},
		want: overlaps(63),
	},
	{
		name: "text of a syntax error is cut short", files: map[string]string{"a.yml": "a: *" + strings.Repeat("b", 200) + "\n"}, load: []string{"a.yml"},
		want: []string{"a.yml:1:204: not valid YAML: unknown anchor '" + strings.Repeat("b", 104) + "...: text that starts with * needs quotes"},
	},
	{
		name: "as many words as a message lists", files: map[string]string{"a.yml": "version: 1\nports: [{name: a, port: 1, targets: [zz]}]\ntargets:\n" + numbered("  t%d0: ssh://h\n", 16)}, load: []string{"a.yml"},
		want: []string{"a.yml:2:38: targets: \"zz\" is not a target of this manifest: want " + strings.Join(tens(16), ", ") + ", auto, local, runner or job"},
	},
	{
		name: "three documents, the last one broken", files: map[string]string{"a.yml": oneNeed("a") + "---\nx: 1\n---\n]\n"}, load: []string{"a.yml"},
		want: []string{"a.yml:5:1: a second document starts here: want one manifest in a file"},
	},
	{
		name: "tags after every kind of line break", files: map[string]string{"a.yml": "# CR, CR LF, LF\rversion: !v 1\rports:\r\n  - {name: a, port: !p 1}\r\r\n\n  - {name: ü, port: !p 1}\n"}, load: []string{"a.yml"},
		want: []string{
			"a.yml:2:10: tags are not supported: remove the tag, or quote text that starts with !",
			"a.yml:4:21: tags are not supported: remove the tag, or quote text that starts with !",
			"a.yml:7:12: name: \"\\u00fc\" is not a valid name: want 1 to 63 of a-z, 0-9, \"_\", \".\" and \"-\", starting with a letter or digit",
			"a.yml:7:21: tags are not supported: remove the tag, or quote text that starts with !",
		},
	},
	{
		name: "tag directives", files: map[string]string{"a.yml": "%TAG ! a\n---\n", "b.yml": "# b\r%TAG", "c.yml": "a: 1\n...\n%TAG !a! b\n---\n"}, load: []string{"*.yml"},
		want: []string{
			"a.yml:1:1: %TAG is not supported: remove this line", "b.yml:2:1: %TAG is not supported: remove this line",
			"c.yml:3:1: %TAG is not supported: remove this line",
		},
	},
	{
		name: "blocks that are too deep", files: map[string]string{
			"a.yml": "a:\n" + strings.Repeat("- ", 201) + "a\n", "b.yml": strings.Repeat("?\t", 100) + strings.Repeat(": ", 101) + "a\n",
			"c.yml": strings.Repeat(" ", 401) + "# a\n",
		},
		load: []string{"*.yml"},
		want: []string{
			"a.yml:2:403: indented by more than 400 columns, the limit of a manifest", "b.yml:1:403: indented by more than 400 columns, the limit of a manifest",
			"c.yml:1:402: indented by more than 400 columns, the limit of a manifest",
		},
	},
	{
		name: "too many marks", load: []string{"*.yml"},
		files: map[string]string{
			"a.yml": strings.Repeat("{", 100_001), "b.yml": strings.Repeat("[:,?", 25_000) + "\n# a", "c.yml": strings.Repeat("-\n", 100_000) + "-",
		},
		want: []string{
			"a.yml:1:100001: more than 100,000 commas, colons, dashes, brackets, question marks and comments, the limit of a manifest",
			"b.yml:2:1: more than 100,000 commas, colons, dashes, brackets, question marks and comments, the limit of a manifest",
			"c.yml:100001:1: more than 100,000 commas, colons, dashes, brackets, question marks and comments, the limit of a manifest",
		},
	},
	{name: "one file by four names", files: map[string]string{"a.yml": oneNeed("a")}, load: []string{"a.yml", "./a.yml", "*.yml", "a.yml"}},
	{name: "stdin twice", stdin: oneNeed("a"), load: []string{"-", "-"}},
	{name: "a file that looks like a glob", files: map[string]string{"[a].yml": oneNeed("a")}, load: []string{"[a].yml"}},
	{
		name: "many suggestions are cut short", files: map[string]string{"a.yml": "version: 1\nports: [{name: a, port: 1, targets: [t5]}]\ntargets:\n" + numbered("  t%d0: ssh://h\n", 30)}, load: []string{"a.yml"},
		want: []string{"a.yml:2:38: targets: \"t5\" is not a target of this manifest: did you mean \"t50\"? want " + strings.Join(tens(20), ", ") + " or one of 14 more"},
	},
}

// overlaps returns the problems of n addresses beside any.
func overlaps(n int) []string {
	var all []string
	column := 43
	for i := range n {
		a := fmt.Sprintf("10.0.0.%d", i)
		all = append(all, fmt.Sprintf("a.yml:4:%d: address: %q overlaps \"any\": one app cannot bind both without socket.reuse_port", column, a))
		column += len(a + ",")
	}
	return all
}

// many returns a manifest with n needs of the same port or block.
func many(app string, n int, block string) string {
	return "version: 1\napp: " + app + "\nports:\n" + numbered("  - {name: n%d, port: "+block+"}\n", n)
}

// tens returns the names t00, t10, t20 and so on.
func tens(n int) []string { return strings.Fields(numbered("t%d0 ", n)) }

// numbered repeats format for the numbers from 0 to n-1.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// loadCase loads the files of a case.
func loadCase(t *testing.T, i int) ([]Manifest, []problem) {
	t.Helper()
	t.Chdir(t.TempDir())
	names := make([]string, 0, len(files[i].files))
	for name := range files[i].files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.Mkdir(name, 0o755)
		} else {
			err = os.WriteFile(name, []byte(files[i].files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return load(files[i].load, strings.NewReader(files[i].stdin), Options{})
}

func TestLoad(t *testing.T) {
	for i, c := range files {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "unreadable" && runtime.GOOS == "windows" {
				testbed.Missing(t, "such a name is not valid there, which is another error")
			}
			all, found := loadCase(t, i)
			got := lines(withoutKinds(found))
			want := strings.Join(append(slices.Clone(c.want), ""), "\n")
			if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if len(c.want) == 0 && len(all) == 0 {
				t.Error("no manifest")
			}
		})
	}
}

// A list of as many needs as allowed is read, each of its items.
func TestLongestListOfNeeds(t *testing.T) {
	_, found := parse("a.yml", []byte("version: 1\nports: ["+strings.Repeat("1,", 4_096)+"]\n"), Options{})
	if len(found) != 4_096 || found[4_095].Message != "ports[4095]: want a mapping with name and port, such as {name: web, port: 1}, not a number" {
		t.Errorf("%d problems", len(found))
	}
}

func TestLoadReadsAFileOnce(t *testing.T) {
	for i, c := range files {
		if c.name != "one file by four names" && c.name != "stdin twice" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if all, found := loadCase(t, i); len(all) != 1 || len(found) != 0 {
				t.Errorf("got %d manifests, problems %v", len(all), found)
			}
		})
	}
}

func TestDefaultApp(t *testing.T) {
	t.Chdir(t.TempDir())
	text := strings.Replace(oneNeed("x"), "app: x\n", "", 1)
	for _, dir := range []string{"shop", "shop/.github"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/portcheck.yml", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		all, found := Load([]string{dir + "/portcheck.yml"}, nil, Options{})
		if len(found) > 0 || all[0].App != "shop" {
			t.Errorf("%s: got %+v, %v, want the app shop", dir, all, found)
		}
	}
	for _, dir := range []string{"shop", "/"} {
		app := "shop"
		if dir == "/" {
			app = "root"
		}
		t.Chdir(dir)
		all, found := Load([]string{"-"}, strings.NewReader(text), Options{})
		if len(found) > 0 || all[0].App != app || all[0].File != "-" {
			t.Errorf("stdin in %s: got %+v, %v, want the app %s", dir, all, found, app)
		}
	}
}

func TestLoadReportsBrokenStdin(t *testing.T) {
	_, found := Load([]string{"-"}, io.MultiReader(strings.NewReader("version"), broken{}), Options{})
	if got, want := lines(found), "-: cannot be read: it broke\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("it broke") }

func write(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiscover(t *testing.T) {
	const names = "portcheck.yml, portcheck.yaml, .portcheck.yml, .portcheck.yaml, .github/portcheck.yml" +
		"; no Compose file there and in its parents: looked for compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml; write a manifest with `portcheck init`, or name ports with -p"
	for _, c := range []struct {
		files          []string
		dir            string
		want, problems string
	}{
		{dir: ".", problems: "no manifest in \".\": looked for " + names + "\n"},
		{dir: "missing", problems: "no manifest in \"missing\": looked for " + names + "\n"},
		{dir: ".", files: []string{"portcheck.yml"}, want: "portcheck.yml"},
		{dir: ".", files: []string{".portcheck.yaml"}, want: ".portcheck.yaml"},
		{dir: ".", files: []string{".github/portcheck.yml"}, want: ".github/portcheck.yml"},
		{dir: ".", files: []string{".github"}, problems: "no manifest in \".\": looked for " + names + "\n"},
		{dir: ".", files: []string{"portcheck.yml", ".github/portcheck.yml"}, want: "portcheck.yml"},
		{dir: "a", files: []string{"a/portcheck.yaml", "portcheck.yml"}, want: "a/portcheck.yaml"},
		{
			dir: ".", files: []string{"portcheck.yaml", ".portcheck.yml"},
			problems: ".portcheck.yml: \"portcheck.yaml\" and \".portcheck.yml\" are in one directory: remove one, or name the one to use\n",
		},
		{
			dir: ".", files: []string{"portcheck.yml", "portcheck.yaml", ".portcheck.yaml"},
			problems: "portcheck.yaml: \"portcheck.yml\" and \"portcheck.yaml\" are in one directory: remove one, or name the one to use\n" +
				".portcheck.yaml: \"portcheck.yml\" and \".portcheck.yaml\" are in one directory: remove one, or name the one to use\n",
		},
	} {
		t.Chdir(t.TempDir())
		write(t, c.files...)
		got, found := Discover(c.dir, Options{})
		if got.File != filepath.FromSlash(c.want) || lines(found) != c.problems {
			t.Errorf("%v in %s: got %q, %q, want %q, %q", c.files, c.dir, got.File, lines(found), c.want, c.problems)
		}
	}
}

func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "b/portcheck.yml", "a-b/portcheck.yml", "a/.portcheck.yaml", "a/z/portcheck.yaml", ".github/portcheck.yml", "portcheck.yml",
		".git/portcheck.yml", "c/node_modules/x/portcheck.yml", "c/other.yml")
	if err := os.Symlink("..", "a/loop"); err != nil {
		testbed.Missing(t, err.Error())
	}
	want := []string{".github/portcheck.yml", "a-b/portcheck.yml", "a/.portcheck.yaml", "a/z/portcheck.yaml", "b/portcheck.yml", "portcheck.yml"}
	got, found := Find(".", Options{})
	if !slices.Equal(got, want) || len(found) > 0 {
		t.Errorf("got %q, %v, want %q", got, found, want)
	}
	if got, found := Find("a/loop/b", Options{}); !slices.Equal(got, []string{"a/loop/b/portcheck.yml"}) || len(found) > 0 {
		t.Errorf("below a link: got %q, %v", got, found)
	}
	if _, found := Find("c", Options{}); len(found) != 1 || !strings.HasPrefix(found[0].Message, `no manifest below "c": looked for portcheck.yml`) {
		t.Errorf("a directory without a manifest: got %v", found)
	}
	if got, found := Find(".git", Options{}); !slices.Equal(got, []string{".git/portcheck.yml"}) || len(found) > 0 {
		t.Errorf("a directory that is skipped elsewhere: got %q, %v", got, found)
	}
	if _, found := Find("missing", Options{}); lines(found) != "missing: no such file\n" {
		t.Errorf("a missing directory: got %v", found)
	}
	if _, found := Find("portcheck.yml", Options{}); lines(found) != "portcheck.yml: is no directory: name a file without --recursive\n" {
		t.Errorf("a file: got %v", found)
	}
	write(t, "d/docker-compose.yml", "d/compose.yml", "d/compose.override.yml", "d/e/docker-compose.yaml", "b/compose.yaml", "compose.yaml", "d/templates/portcheck.yml", "d/f/portcheck.yml", "d/f/compose.yaml", "d/g/.github/portcheck.yml", "d/g/compose.yaml")
	if err := os.WriteFile("d/templates/portcheck.yml", []byte("# a component\nspec:\n  inputs: {}\n---\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, found := Find("d", Options{}); !slices.Equal(got, []string{"d/compose.yml", "d/e/docker-compose.yaml", "d/f/portcheck.yml", "d/g/.github/portcheck.yml"}) || len(found) > 0 {
		t.Errorf("names of Compose: got %q, %v", got, found)
	}
	if got, found := Find("d/f", Options{Source: "compose"}); !slices.Equal(got, []string{"d/f/compose.yaml"}) || len(found) > 0 {
		t.Errorf("Compose alone: got %q, %v", got, found)
	}
	if got, found := Find(".", Options{}); !slices.Contains(got, "portcheck.yml") || slices.Contains(got, "compose.yaml") || len(found) > 0 {
		t.Errorf("beside a manifest: got %q, %v", got, found)
	}
	write(t, "b/.portcheck.yml", "b/portcheck.yaml")
	files, found := Find("b", Options{})
	if len(files) != 3 || lines(found) != "b/portcheck.yaml: \".portcheck.yml\" and \"portcheck.yaml\" are in one directory: remove one, or name the one to use\n"+
		"b/portcheck.yml: \".portcheck.yml\" and \"portcheck.yml\" are in one directory: remove one, or name the one to use\n" {
		t.Errorf("three in a directory: got %q, %v", files, found)
	}
}

// locked is a file system with a directory that is not readable.
type locked struct{ fstest.MapFS }

func (l locked) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "locked" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return l.MapFS.ReadDir(name)
}

func TestFindReportsUnreadableDirectories(t *testing.T) {
	files, found := find(locked{fstest.MapFS{"locked/portcheck.yml": {}, "z/portcheck.yml": {}}}, "top", "")
	if !slices.Equal(files, []string{"top/z/portcheck.yml"}) || lines(withoutKinds(found)) != "top/locked: cannot be read: permission denied\n" {
		t.Errorf("got %q, %v", files, found)
	}
}

// Find stops at the limits of a run.
func TestFindStops(t *testing.T) {
	tree := func(n int, format string) fstest.MapFS {
		fsys := fstest.MapFS{}
		for i := range n {
			fsys[fmt.Sprintf(format, i)] = &fstest.MapFile{}
		}
		return fsys
	}
	files, found := find(tree(4096, "%04d/portcheck.yml"), "top", "")
	if len(files) != 4096 || len(found) != 0 {
		t.Errorf("at the limit: %d files, %s", len(files), lines(withoutKinds(found)))
	}
	files, found = find(tree(5000, "%04d/portcheck.yml"), "top", "")
	if want := "top/4096/portcheck.yml: more than 4,096 manifests, the limit of a run: name fewer, in several runs\n"; len(files) != 4096 || lines(withoutKinds(found)) != want {
		t.Errorf("beyond the limit: %d files, %s", len(files), lines(withoutKinds(found)))
	}
	for n, want := range map[int]int{1000: 1000, 1001: 1001, 1500: 1001} {
		fsys := tree(n, "%04d/portcheck.yml")
		for name := range tree(n, "%04d/portcheck.yaml") {
			fsys[name] = &fstest.MapFile{}
		}
		_, found = find(fsys, "top", "")
		if last := found[len(found)-1]; len(found) != want || (last.kind == tooManyProblems) != (n > 1000) {
			t.Errorf("two manifests in each of %d directories: %d problems, the last is %v", n, len(found), last)
		}
	}
	deep := strings.Repeat("d/", 99)
	files, found = find(fstest.MapFS{deep + "a/portcheck.yml": {}, deep + "b/c/portcheck.yml": {}, "z/portcheck.yml": {}}, "top", "")
	want := "top/" + deep + "b/c: more than 100 directories one in another, the limit of --recursive: use it with a directory further down\n"
	if len(files) != 2 || lines(withoutKinds(found)) != want {
		t.Errorf("directories one in another: %q, %s", files, lines(withoutKinds(found)))
	}
}

// Files stops at the limit of a run, which counts a file once.
func TestFilesStops(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "0.yml")
	for i := range 4200 {
		if err := os.Link("0.yml", fmt.Sprintf("l%d.yml", i)); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	write(t, "z.yml")
	if files, found := Files([]string{"*.yml", "z.yml"}); !slices.Equal(files, []string{"0.yml", "z.yml"}) || len(found) > 0 {
		t.Errorf("links to one file: %d files, %v", len(files), found)
	}
	t.Chdir(t.TempDir())
	for i := range 4200 {
		write(t, fmt.Sprintf("%04d.yml", i))
	}
	if files, found := Files([]string{"*.yml", "missing"}); len(files) != 4097 || files[4096] != "4096.yml" || len(found) > 0 {
		t.Errorf("%d files, %v", len(files), found)
	}
}

func TestCharacters(t *testing.T) {
	for _, r := range "\t\n\r ~\u00a0\u2027\u202a\ufefe\ufffd\U0001f600" {
		if _, found := parse("a.yml", []byte(oneNeed("a")+"# "+string(r)+"\n"), Options{}); len(found) > 0 {
			t.Errorf("%U: %v", r, found)
		}
	}
	for _, r := range "\x00\x08\x0b\x1f\x7f\u0080\u0085\u009f\u2028\u2029\ufeff\ufffe\uffff" {
		_, found := parse("a.yml", []byte(oneNeed("a")+"# é"+string(r)+"\n"), Options{})
		if got, want := lines(withoutKinds(found)), fmt.Sprintf("a.yml:5:4: character U+%04X is not allowed: want printable text\n", r); got != want {
			t.Errorf("%U: got %q, want %q", r, got, want)
		}
	}
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if _, found := parse("a.yml", []byte(mark+"v\x00"), Options{}); lines(withoutKinds(found)) != "a.yml:1:1: is UTF-16: save it as UTF-8\n" {
			t.Errorf("%q: %v", mark, found)
		}
	}
}

func TestPanicOfTheLibrary(t *testing.T) {
	err := catchPanic(func() error { panic("index out of range\n##[error]") })
	got := yamlProblem("a.yml", []byte("x"), err).Error()
	want := `a.yml:1:1: the YAML library failed on this file (index out of range\n#\x23[error]): please report it as a bug of portcheck`
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEveryKindHasACase reads the kinds from the source.
func TestEveryKindHasACase(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "messages.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[kind]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			missing[kind(text)] = spec.Names[0].Name
		}
		return true
	})
	if len(missing) < 60 {
		t.Fatalf("found only %d kinds", len(missing))
	}
	// These have other tests.
	for _, k := range []kind{noneInDirectory, nothingFound, noComposeFile, notLocal, outOfProject, sameService, noneBelow, isNoDirectory, sameDirectory, deepDirectory, yamlPanic, leavesBounds, tooManyFiles, tooManyBytes, tooManyMarksRun, tooManyProblems} {
		delete(missing, k)
	}
	inDirectory(t, "invalid", func(t *testing.T, name string) {
		_, found := load([]string{name}, nil, Options{})
		for _, p := range found {
			delete(missing, p.kind)
		}
	})
	for i := range files {
		_, found := loadCase(t, i)
		for _, p := range found {
			delete(missing, p.kind)
		}
	}
	t.Chdir(t.TempDir())
	for _, c := range composeCases {
		writeCompose(t, c.text, c.env)
		_, found := load([]string{"compose.yaml"}, nil, Options{})
		for _, p := range found {
			delete(missing, p.kind)
		}
	}
	for _, c := range lintCases {
		for _, lint := range []bool{true, false} {
			_, found := parse(c.file, []byte(c.text), Options{Lint: lint})
			for _, p := range found {
				delete(missing, p.kind)
			}
		}
	}
	for _, c := range emptyFiles {
		_, found := parse("x.yml", []byte(c.texts[0]), Options{Lint: true, Source: c.source})
		for _, p := range found {
			delete(missing, p.kind)
		}
	}
	for _, c := range portEntries {
		_, found := parseCompose(stdinName, []byte("services: {web: {ports: ["+c.entry+"]}}\n"), Options{})
		for _, p := range found {
			delete(missing, p.kind)
		}
	}
	for _, c := range projectProblems {
		_, found := loadProject(t, c.files)
		for _, p := range found {
			delete(missing, p.kind)
		}
	}
	for _, name := range missing {
		t.Errorf("no case produces %s", name)
	}
}

// TestHostileSizesEndSoon parses manifests that take long if the parser expands
// aliases, takes quadratic time, or recurses without limit.
func TestHostileSizesEndSoon(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 30; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 8), i-1)
	}
	if _, found := parse("a.yml", []byte(bomb), Options{}); len(found) == 0 {
		t.Error("no problem with aliases")
	}
	const start = "version: 1\nports: [{name: a, port: 1, "
	many := func(s string) func(int) string { return func(n int) string { return strings.Repeat(s, n) } }
	for name, c := range map[string]struct {
		most int
		text func(n int) string
	}{
		"flow":          {1 << 20, many("[")},
		"blocks":        {1 << 19, many("- ")},
		"keys":          {60_000, func(n int) string { return numbered("k%d: 1\n", n) }},
		"similar keys":  {9_000, func(n int) string { return numbered("verison%d: 1\n", n) }},
		"one long line": {9_000, func(n int) string { return "x: [" + strings.Repeat("!a b,", n) + "]" }},
		"bad targets": {4_000, func(n int) string {
			name := strings.Repeat("t", 26)
			return "version: 1\ntargets: {" + numbered(name+"%d: x,", 300) + "}\nports: [{name: a, port: 1, targets: [" + numbered(name+"%d_,", n) + "]}]"
		}},
		"addresses":      {15_000, func(n int) string { return start + "address: [" + strings.Repeat("any,", n) + "]}]" }},
		"comments":       {1 << 17, many("a: #\n")},
		"error at end":   {60_000, func(n int) string { return numbered("k%d: [1, 2]\n", n) + "x" }},
		"error, located": {5_000, func(n int) string { return numbered("k%d: [1]\n", n) + "x: ]" }},
		"globs":          {2_000, func(n int) string { return start + `owner: {unit: "` + strings.Repeat("*a", n) + `"}}]` }},
		"control":        {1 << 19, func(n int) string { return strings.Repeat("\n", n) + "\x00" }},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() {
				c.most /= 10
			}
			testbed.Linear(t, c.most, func(size int) func() {
				text := []byte(c.text(size))
				return func() {
					if _, found := parse("a.yml", text, Options{}); len(found) == 0 && name != "globs" {
						t.Error("no problem")
					}
				}
			})
		})
	}
}
