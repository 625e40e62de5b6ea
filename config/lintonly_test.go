package config

import (
	"fmt"
	"strings"
	"testing"
)

// lintCases are files with the ports of other machines, and their needs or problems.
var lintCases = []struct{ name, file, text, want string }{
	{"pods", "k.yml", `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - ports:
        - {containerPort: 80, hostPort: 8080}
        - {containerPort: 81}
        - {containerPort: 53, hostPort: 53, protocol: UDP, hostIP: 127.0.0.1}
        - {containerPort: 54, hostPort: 54, protocol: SCTP}
---
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  hostNetwork: true
  initContainers:
    - ports: [{containerPort: 1}]
    - restartPolicy: Always
      ports: [{containerPort: 2}]
  containers:
    - ports: [{containerPort: 9100}]
`, `k.yml:7:41 web-80 8080 any/tcp 80
k.yml:9:41 web-53 53 127.0.0.1/udp 53
k.yml:23:31 web-9100 9100 any/tcp 9100
k.yml:21:31 web-2 2 any/tcp 2
`},
	{"workloads and a list", "k.yml", `apiVersion: v1
kind: List
items:
  - apiVersion: apps/v1
    kind: DaemonSet
    metadata: {name: agent}
    spec: {template: {spec: {containers: [{ports: [{containerPort: 1, hostPort: 1}]}]}}}
  - apiVersion: batch/v1
    kind: CronJob
    metadata: {name: job}
    spec: {jobTemplate: {spec: {template: {spec: {containers: [{ports: [{containerPort: 2, hostPort: 2}]}]}}}}}
  - kind: Service
    metadata: {name: web}
    spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}, {port: 81}]}
  - kind: ConfigMap
    data: {a: "{{ b }}"}
`, `k.yml:7:81 agent 1 any/tcp 1
k.yml:11:102 job 2 any/tcp 2
k.yml:14:57 web 30080 any/tcp 80
`},
	{"no ports", "k.yml", "apiVersion: v1\nkind: ConfigMap\n", ""},
	{"odd shapes", "k.yml", "apiVersion: v1\nkind: Pod\nspec: [a]\n---\n[a]\n---\napiVersion: v1\nkind: Pod\nspec: {containers: [{ports: [{hostPort: 70000}, {hostPort: x}, {hostPort: 1, hostIP: y}]}]}\n", `k.yml:3:7: "object": want a mapping (key: value), not a list
k.yml:5:1: not an object of Kubernetes: want a mapping with apiVersion and kind, not a list
k.yml:9:41: hostPort: "70000" is not a port: want a decimal number from 1 to 65535
k.yml:9:60: hostPort: "x" is not a port: want a decimal number from 1 to 65535
k.yml:9:86: hostIP: "y" is not an address: want any, any4, any6, loopback or an IP literal
`},
	{"a template", "k.yml", "apiVersion: v1\nkind: Pod\nspec: {{ .Values.spec }}\n", `k.yml:3:7: a template is not followed: run "helm template ... | portcheck lint --source kubernetes -"` + "\n"},
	{"a template in a port", "k.yml", "apiVersion: v1\nkind: Service\nspec:\n  ports:\n    - nodePort: {{ .Values.port | default 30080 }}\n", `k.yml:5:17: a template is not followed: run "helm template ... | portcheck lint --source kubernetes -"` + "\n"},
	{"a template in quotes", "k.yml", "apiVersion: v1\nkind: Pod\nspec:\n  containers: [{ports: [{hostPort: '{{ .port }}'}]}]\n", `k.yml:4:36: a template is not followed: run "helm template ... | portcheck lint --source kubernetes -"` + "\n"},
	{"a kustomization", "k.yml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", `k.yml:1:1: a kustomization is not followed: run "kubectl kustomize DIR | portcheck lint --source kubernetes -"` + "\n"},
	{"a document without a kind", "k.yml", "apiVersion: v1\nkind: Pod\n---\nname: web\n", "k.yml:4:1: not an object of Kubernetes: kind is missing, such as kind: Deployment\n"},
	{"a list of one kind", "k.yml", "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}}]\n", ""},
	{"jobs that are none", "ci.yml", "on: push\njobs: x\n", "ci.yml:1:1: not a workflow: want jobs with a mapping\n"},
	{"a name of many characters", "k.yml", "apiVersion: v1\nkind: Pod\nmetadata: {name: '::error::\"x'}\nspec: {containers: [{ports: [{hostPort: 1}]}]}\n", "k.yml:4:41 error---x 1 any/tcp 1\n"},
	{"a workflow", ".github/workflows/ci.yml", `on: push
jobs:
  test:
    services:
      db:
        image: postgres
        ports: ["5432:5432", 6000, '7000:${{ matrix.port }}', "127.0.0.1:53:53/udp"]
  other:
    services:
      db: {ports: ["5432:5432"]}
      dynamic: "${{ matrix.service }}"
  reused: {uses: ./.github/workflows/x.yml}
`, `.github/workflows/ci.yml:7:17 test-db-5432 5432 any/tcp 0 test
.github/workflows/ci.yml:7:63 test-db-53 53 127.0.0.1/udp 0 test
.github/workflows/ci.yml:10:20 other-db 5432 any/tcp 0 other
`},
	{"a bad port in a workflow", "ci.yml", "on: push\njobs: {a: {services: {db: {ports: [x]}}}}\n", `ci.yml:2:36: ports: "x" is not a published port: want [HOST_IP:]HOST:CONTAINER[/PROTOCOL] with ports or ranges of equal length` + "\n"},
}

func TestSourcesOfLint(t *testing.T) {
	for _, c := range lintCases {
		t.Run(c.name, func(t *testing.T) {
			m, found := parse(c.file, []byte(c.text), Options{Lint: true})
			var got strings.Builder
			got.WriteString(lines(withoutKinds(found)))
			for _, p := range m.Ports {
				if len(found) == 0 {
					fmt.Fprintln(&got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s/%s %d %s", p.At, p.Name, p.Ports, p.Addresses[0], p.Protocols[0], p.Container, p.Group)))
				}
			}
			if got.String() != c.want {
				t.Errorf("got\n%swant\n%s", got.String(), c.want)
			}
			if m.App == "" {
				t.Error("no app")
			}
			if _, found := parse(c.file, []byte(c.text), Options{}); len(found) != 1 || found[0].kind != onlyLint {
				t.Errorf("without lint: %v", found)
			}
		})
	}
}

func fuzzSource(f *testing.F, file string, parse func(string, []byte, Options) (Manifest, []problem)) {
	for _, c := range lintCases {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, found := parse(file, data, Options{Lint: true})
		for _, p := range found {
			checkProblem(t, p.Problem, data)
		}
		if len(found) == 0 && len(m.Ports) > 0 {
			checkManifest(t, m)
		}
	})
}

// emptyFiles are files without content, in each source, and what each wants.
var emptyFiles = []struct {
	source, want string
	texts        []string
}{
	{"manifest", "the manifest is empty: want version, app and ports", []string{"", "# a\n", "---\n", "~\n"}},
	{"compose", "the Compose file is empty: want services with ports", []string{"", "\ufeff", "# a\n\n# b\n"}},
	{"kubernetes", "the file has no object of Kubernetes: want mappings with apiVersion and kind", []string{"", "# a\n", "---\n# a\n---\n"}},
	{"workflow", "the workflow is empty: want jobs with a mapping", []string{"", "# a\n", "---\n", "~\n"}},
}

func TestEmptyFilesWantWhatTheirSourceDoes(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range emptyFiles {
		for _, text := range c.texts {
			writeFiles(t, ".", map[string]string{"x.yml": text})
			if _, found := Load([]string{"x.yml"}, nil, Options{Source: c.source, Lint: true}); lines(found) != "x.yml:1:1: "+c.want+"\n" {
				t.Errorf("%s %q: got %q", c.source, text, lines(found))
			}
			if _, found := Load([]string{"-"}, strings.NewReader(text), Options{Source: c.source, Lint: true}); lines(found) != "-:1:1: "+c.want+"\n" {
				t.Errorf("%s %q: stdin: got %q", c.source, text, lines(found))
			}
		}
	}
}

func TestTextIsNoWorkflow(t *testing.T) {
	if _, found := Load([]string{"-"}, strings.NewReader("root:x:0:0\n"), Options{Source: "workflow", Lint: true}); lines(found) != "-:1:1: not a workflow: want jobs with a mapping\n" {
		t.Errorf("got %q", lines(found))
	}
}

// An empty Compose file has the message of one in whichever way it is found.
func TestEmptyComposeFileHoweverItIsFound(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, ".", map[string]string{"compose.yaml": "", "stack.yml": "# none\n"})
	discovered, named, below, other := Options{}, Options{}, Options{}, Options{}
	d, bad := Discover(".", discovered)
	discovered.SetDiscovered(".", d)
	files, more := Find(".", below)
	more = append(more, below.AddFound(files)...)
	other.SetProject([]string{"stack.yml"})
	for file, o := range map[string]Options{"discovered " + d.File: discovered, "named compose.yaml": named, "below " + strings.Join(files, " "): below, "project stack.yml": other} {
		how, file, _ := strings.Cut(file, " ")
		if _, found := Load([]string{file}, nil, o); lines(found) != file+":1:1: the Compose file is empty: want services with ports\n" {
			t.Errorf("%s: got %q", how, lines(found))
		}
	}
	if len(bad)+len(more) > 0 {
		t.Errorf("%v %v", bad, more)
	}
}

func FuzzKubernetes(f *testing.F) { fuzzSource(f, "k.yml", parseKubernetes) }

func FuzzWorkflow(f *testing.F) { fuzzSource(f, "ci.yml", parseWorkflow) }
