package openssh

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/transport/internal/remote"
)

// forced are the options that hold for every host, jump hosts included: the ssh of
// a ProxyJump reads the same file, and the first value of an option counts.
var forced = []struct {
	since version // the first OpenSSH that knows the option
	line  string
}{
	{line: "BatchMode yes"},
	// Nothing may loosen the check of the host key.
	{line: "StrictHostKeyChecking yes"},
	{line: "VerifyHostKeyDNS no"},
	{line: "NoHostAuthenticationForLocalhost no"},
	{line: "UpdateHostKeys no"},
	{line: "VisualHostKey no"},
	// The host gets nothing but the command.
	{line: "ForwardAgent no"},
	{line: "ForwardX11 no"},
	{line: "ClearAllForwardings yes"},
	{line: "Tunnel no"},
	{line: "RequestTTY no"},
	{line: "EscapeChar none"},
	{line: "RemoteCommand none"},
	{version{8, 7}, "SessionType default"},
	{version{8, 7}, "StdinNull no"},
	{version{8, 7}, "ForkAfterAuthentication no"},
	// Nothing stays or runs here. A master that is up is used, but none is started.
	{line: "PermitLocalCommand no"},
	{line: "ControlMaster no"},
	{line: "AddKeysToAgent no"},
}

// kerberosOptions are forced to "no" where ssh has them. Distributions add the first by
// a patch, and a build without Kerberos has neither.
var kerberosOptions = []string{
	"GSSAPIKeyExchange",         // the host's ticket counts then, and not its key
	"GSSAPIDelegateCredentials", // the host gets the user's ticket
}

// settings are the options of `ssh -G` that decide how a host is reached, except for
// the keys in files.
var settings = []string{
	"addressfamily", "bindaddress", "bindinterface", "casignaturealgorithms", "checkhostip", "ciphers", "compression",
	"connectionattempts", "connecttimeout", "controlpath", "globalknownhostsfile", "gssapiauthentication",
	"gssapiclientidentity", "gssapiserveridentity", "gssapitrustdns", "hostbasedauthentication", "hostkeyalgorithms", "hostkeyalias", "hostname",
	"identityagent", "ipqos", "kexalgorithms", "knownhostscommand", "macs", "pkcs11provider", "port",
	"preferredauthentications", "proxycommand", "proxyjump", "proxyusefdpass", "pubkeyacceptedalgorithms",
	"pubkeyauthentication", "rekeylimit", "requiredrsasize", "revokedhostkeys", "securitykeyprovider",
	"serveralivecountmax", "serveraliveinterval", "tcpkeepalive", "user", "userknownhostsfile",
}

// withKeys returns a configuration in which the given keys are the only ones for a
// host, where no file names others.
func (c *Client) withKeys(f *files, host string) (string, error) {
	var b strings.Builder
	if err := c.begin(&b); err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "Match originalhost \"%s\"\nIdentitiesOnly yes\nMatch all\n", pattern(host))
	if err := c.identities(&b); err != nil {
		return "", err
	}
	return c.end(f, &b)
}

// pattern returns the pattern that matches a host's name as it was typed, which ssh
// compares with a pattern in lower case.
func pattern(host string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return '?'
		}
		return r
	}, host)
}

// withKeysAlone returns a configuration in which the given keys are the only ones for
// a host. IdentityFile lines of the user add to those before. So the target does not
// read the user's configuration, but what resolved, the output of `ssh -G`, says of it.
func (c *Client) withKeysAlone(f *files, host, resolved string) (string, error) {
	var b strings.Builder
	if err := c.begin(&b); err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "Match originalhost \"%s\"\nIdentitiesOnly yes\n", pattern(host))
	for line := range strings.Lines(resolved) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if slices.Contains(settings, name) && value != "" && !(name == "connecttimeout" && value == "none") {
			fmt.Fprintln(&b, name, value)
		}
	}
	if err := c.identities(&b); err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "Match !originalhost \"%s\"\n", pattern(host))
	if err := c.identities(&b); err != nil {
		return "", err
	}
	return c.end(f, &b)
}

// configuration returns the text of the file that ssh reads instead of the user's
// and the system's, which it includes.
func (c *Client) configuration(f *files) (string, error) {
	var b strings.Builder
	if err := c.begin(&b); err != nil {
		return "", err
	}
	return c.end(f, &b)
}

// begin writes what holds for every host.
func (c *Client) begin(b *strings.Builder) error {
	for _, f := range forced {
		if c.atLeast(f.since.major, f.since.minor) {
			fmt.Fprintln(b, f.line)
		}
	}
	for _, option := range c.kerberos {
		fmt.Fprintln(b, option, "no")
	}
	// A master that is up has been reached with other keys and known hosts.
	if c.o.KnownHosts != "" || len(c.o.Identities) > 0 {
		fmt.Fprintln(b, "ControlPath none")
	}
	if c.o.KnownHosts != "" {
		file, err := quoteFile(c.o.KnownHosts)
		if err != nil {
			return fmt.Errorf("--known-hosts: %w", err)
		}
		fmt.Fprintf(b, "UserKnownHostsFile %s\nGlobalKnownHostsFile %s\n", file, os.DevNull)
		if c.atLeast(8, 5) {
			fmt.Fprintln(b, "KnownHostsCommand none")
		}
	}
	return nil
}

// identities writes the given keys.
func (c *Client) identities(b *strings.Builder) error {
	for _, f := range c.o.Identities {
		file, err := quoteFile(f)
		if err != nil {
			return fmt.Errorf("--identity: %w", err)
		}
		fmt.Fprintf(b, "IdentityFile %s\n", file)
	}
	return nil
}

// end writes what ssh reads after that: the user's and the system's configuration.
func (c *Client) end(f *files, b *strings.Builder) (string, error) {
	if err := c.includeUsers(f, b); err != nil {
		return "", err
	}
	if err := c.includeSystem(f, b); err != nil {
		return "", err
	}
	fmt.Fprintf(b, "Match all\nConnectTimeout %d\n", max(int(c.o.ConnectTimeout/time.Second), 1))
	return b.String(), nil
}

// includeUsers adds the user's configuration, or the file that replaces it. Include
// checks owner and mode of a file, as ssh does with the user's own, but not with one
// that -F names.
func (c *Client) includeUsers(f *files, b *strings.Builder) error {
	file := filepath.Join(userHome(), ".ssh", "config")
	if c.o.ConfigFile == "" {
		if !forbidden(file) { // ssh goes on without it, too
			include(b, file)
		}
		return nil
	}
	if c.o.ConfigFile == "none" || c.o.ConfigFile == os.DevNull { // as -F none
		return nil
	}
	text, info, err := readConfig(c.o.ConfigFile)
	if err != nil {
		return fmt.Errorf("--ssh-config: %w", err)
	}
	if file, err = filepath.Abs(c.o.ConfigFile); err == nil && (!trusted(info) || strings.ContainsAny(file, globbed)) {
		file, err = f.add(text)
	}
	if err != nil {
		return fmt.Errorf("--ssh-config: %w", err)
	}
	include(b, file)
	return nil
}

// globbed are the characters of a name that Include does not take as they are.
const globbed = "*?[\\\"%$~"

// include adds an Include. It stays within the block of the line, as a copy of the
// file's text would not.
func include(b *strings.Builder, file string) {
	fmt.Fprintf(b, "Include \"%s\"\n", filepath.ToSlash(file))
}

// files are temporary files of a configuration.
type files struct{ removals []func() }

// add creates a file and returns its name.
func (f *files) add(text string) (name string, err error) {
	name, remove, err := remote.AsFile(text)
	if err != nil {
		return "", fmt.Errorf("can't create a temporary file: %w", err)
	}
	f.removals = append(f.removals, remove)
	return name, nil
}

// remove removes all files.
func (f *files) remove() {
	for _, remove := range f.removals {
		remove()
	}
}

// userHome returns the directory in which ssh looks for the user's files. It is that
// of the user database. In an Include, ~ would be HOME.
func userHome() string {
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) {
		return u.HomeDir
	}
	return "~"
}

// quoteFile returns a file's name as a value of ssh_config(5).
func quoteFile(name string) (string, error) {
	if strings.ContainsAny(name, "\"\n\r\\") && runtime.GOOS != "windows" || strings.Contains(name, "${") {
		return "", fmt.Errorf("ssh can't read a file with quotes, backslashes, line ends or ${ in its name: %q", name)
	}
	absolute, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return `"` + strings.ReplaceAll(filepath.ToSlash(absolute), "%", "%%") + `"`, nil
}

const configLimit = 1 << 20 // bytes of a file

// readConfig returns the text of a regular file.
func readConfig(file string) (string, fs.FileInfo, error) {
	f, err := within.OpenRegular(file, nil)
	if irregular := (within.IrregularError{}); errors.As(err, &irregular) {
		err = fmt.Errorf("%s %w", file, irregular)
	}
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err == nil && len(text) > configLimit {
		err = fmt.Errorf("%s is larger than %d MiB", file, configLimit>>20)
	}
	if err != nil {
		return "", nil, err
	}
	info, err := f.Stat()
	return string(text), info, err
}

// includeSystem adds the system's configuration. In a file that -F names, ssh looks
// for the relative names of an Include in ~/.ssh, so a file with such names is
// copied, and the names made absolute. A file is also copied if Include would refuse
// it for its owner or mode, which ssh does not check for its own.
func (c *Client) includeSystem(f *files, b *strings.Builder) error {
	dir := remote.SystemDir(c.o.Env)
	if dir == "" {
		return nil
	}
	file := filepath.Join(dir, "ssh_config")
	text, info, err := readConfig(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // ssh goes on without it, too
	}
	if err != nil {
		return err
	}
	whole, changed := absoluteIncludes(text, filepath.ToSlash(dir))
	if changed || !trusted(info) {
		if file, err = f.add(whole); err != nil {
			return err
		}
	}
	include(b, file)
	return nil
}

// absoluteIncludes returns a configuration with the relative names of its Include
// lines below dir, and reports whether there are any.
func absoluteIncludes(text, dir string) (whole string, changed bool) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(words) > 0 && strings.EqualFold(words[0], "Include") {
			for i, w := range words[1:] {
				bare := strings.Trim(w, `"`)
				if !filepath.IsAbs(bare) && !strings.HasPrefix(bare, "~") {
					changed = true
					words[i+1] = `"` + dir + "/" + bare + `"`
				}
			}
			line = strings.Join(words, " ") + "\n"
		}
		b.WriteString(line)
	}
	b.WriteString("\n")
	return b.String(), changed
}

// checkFiles returns an error for a file of the flags that ssh could not read: ssh
// itself goes on without it.
func (c *Client) checkFiles() error {
	if f := c.o.KnownHosts; f != "" {
		if err := readable(f); err != nil {
			return remote.At("host key", fmt.Errorf("the known_hosts file %s %w", f, err))
		}
	}
	for _, f := range c.o.Identities {
		if err := readable(f); err != nil {
			return remote.At("authentication", fmt.Errorf("%s %w", f, err))
		}
	}
	return nil
}

func readable(name string) error {
	err := canRead(name)
	if errors.As(err, &within.IrregularError{}) {
		return errors.New("is not a regular file, which ssh needs: use --ssh builtin")
	}
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if err != nil {
		return fmt.Errorf("can't be read: %w", err)
	}
	return nil
}

// forbidden reports whether the user has no right to read a regular file.
func forbidden(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && errors.Is(canRead(name), fs.ErrPermission)
}

// canRead reads a byte of a file.
func canRead(name string) error {
	f, err := within.OpenRegular(name, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := f.Read(make([]byte, 1)); n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
