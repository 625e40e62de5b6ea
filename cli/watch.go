package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/metrics"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/report"
	"github.com/org/portcheck/transport"
)

// watchOptions are the flags of watch.
type watchOptions struct {
	needOptions
	connectOptions
	explainOptions
	baseline    string
	interval    time.Duration
	until       string
	format      string
	metrics     string
	parallel    int
	showCommand bool
	quiet       bool
}

// leastInterval limits how often watch asks.
const leastInterval = 100 * time.Millisecond

func (a *app) watch() *cobra.Command {
	o := &watchOptions{interval: 5 * time.Second}
	cmd := &cobra.Command{
		Use:   "watch [flags] [MANIFEST...]",
		Short: "Print a line for each port that is taken, freed or changes hands, and for each need that is met or not any more",
		Long: `Asks the targets again and again, and prints what has changed. Without a MANIFEST
or --port it watches listeners alone. It changes nothing, stores nothing, and ends
by SIGINT, SIGQUIT, SIGTERM or SIGHUP with the exit code 0.`,
		Example: `  portcheck watch
  portcheck watch shop.yml -f json >> ports.log
  portcheck watch -t ssh://deploy@app1 -t ssh://deploy@app2 --interval 30s
  portcheck watch shop.yml --until met
  portcheck watch shop.yml --metrics :9464   for Prometheus, on loopback`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var((*durationFlag)(&o.interval), "interval", "time between the starts of two rounds, at least 100ms")
	f.StringVar(&o.until, "until", "", "end when every need is `met`, or one is unmet, with the exit code 0; or after a duration such as 10m, with 1 if a need is unmet then")
	f.StringVarP(&o.format, "format", "f", "text", "text or json: one event a line")
	f.StringVar(&o.metrics, "metrics", "", "serve Prometheus' metrics at `[ADDRESS]:PORT`, /metrics and /healthz; without ADDRESS on loopback alone")
	f.StringVar(&o.baseline, "baseline", "", "count in the metrics what differs from `FILE`, which portcheck list -f json has written")
	o.allowFileFlag(f)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "nothing on stderr but errors and warnings")
	groupReport.addTo(f)
	o.needFlags(f, "watch")
	f.BoolVar(&o.showCommand, "show-command", false, "show the command lines of processes in JSON; they may contain secrets")
	groupReport.addTo(f)
	o.connectFlags(f)
	f.IntVar(&o.parallel, "parallel", 16, "number of targets to open at the same time, 1 to 256")
	allowTargetsFlag(f, &o.allowTargets)
	groupWhere.addTo(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.runWatch(cmd.Context(), args, o) }
	return cmd
}

// untilWords are the words of --until.
var untilWords = []string{"met", "unmet"}

func (o *watchOptions) validate(hasNeeds bool) (duration time.Duration, err error) {
	if o.interval < leastInterval {
		return 0, usageError(fmt.Errorf("--interval %s: want at least %s", o.interval, leastInterval), "")
	}
	if _, known := report.EventFormats[o.format]; !known {
		return 0, notOneOf("-f", o.format, report.EventFormats.Names())
	}
	if err := validParallel(o.parallel); err != nil {
		return 0, err
	}
	switch {
	case o.baseline != "" && o.metrics == "":
		return 0, usageError(errors.New("--baseline has no effect without --metrics; see `portcheck diff`"), "")
	case len(o.allow) > 0 && o.baseline == "":
		return 0, usageError(errors.New("--allow has no effect without --baseline"), "")
	}
	switch o.until {
	case "":
	case "met", "unmet":
		if !hasNeeds {
			return 0, usageError(fmt.Errorf("--until %s: there are no needs: name a MANIFEST or use --port", o.until), "")
		}
	default:
		if duration, err = parseDuration(o.until); err != nil || duration <= 0 {
			return 0, usageError(fmt.Errorf("--until %q: want %s or a duration such as 10m, at most 24h", o.until, strings.Join(untilWords, ", ")), config.DidYouMean(o.until, untilWords))
		}
	}
	return duration, nil
}

// namesNeeds reports whether the command line names needs. No manifest is looked for:
// listeners can be watched without one.
func (o *watchOptions) namesNeeds(args []string) bool {
	return len(args)+len(o.ports)+len(o.recursive)+len(o.files) > 0
}

// watchedNeeds returns the needs and the targets.
func (a *app) watchedNeeds(ctx context.Context, args []string, o *watchOptions) ([]check.Need, []targetSpec, error) {
	auto := transport.Auto(a.transportJob())
	if !o.namesNeeds(args) {
		if err := o.needOptions.validate(); err != nil {
			return nil, nil, err
		}
		problems := o.withoutNeeds()
		flags, bad := parseTargetFlags(o.targets, auto)
		problems = append(problems, bad...)
		specs := flags.all
		for _, name := range slices.Sorted(maps.Keys(flags.byName)) {
			specs = append(specs, flags.newSpec(name, flags.byName[name], targetFlag))
		}
		if len(specs) == 0 {
			specs = []targetSpec{flags.newSpec("", "auto", targetFlag)}
		}
		total := newTotals()
		for _, s := range specs {
			if exceeded := total.addTarget(s); exceeded != nil {
				problems = append(problems, *exceeded)
				break
			}
		}
		return nil, specs, problemsError(problems)
	}
	needs, specs, problems, err := a.readNeeds(ctx, args, o.needOptions, auto)
	if err != nil {
		return nil, nil, err
	}
	if !o.allowTargets {
		problems = append(problems, a.refuseStrangers(needs, specs)...)
	}
	for i := range needs {
		if n := &needs[i]; !n.Place() && !slices.Contains(problems, n.NoRoom()) {
			problems = append(problems, n.NoRoom())
		}
	}
	return needs, specs, problemsError(problems)
}

func (a *app) runWatch(ctx context.Context, args []string, o *watchOptions) error {
	if err := o.connectOptions.validate(a.env); err != nil {
		return err
	}
	duration, err := o.validate(o.namesNeeds(args))
	if err != nil {
		return err
	}
	needs, specs, err := a.watchedNeeds(ctx, args, o)
	if err != nil {
		return err
	}
	w := &watcher{app: a, watchOptions: o, several: len(specs) > 1, started: time.Now(), warned: map[string]bool{}, noted: map[string]bool{}}
	targets := a.openers(specs, o.connectOptions, 1, config.MostDuration)
	if err := w.readBaseline(ctx, needs); err != nil {
		return err
	}
	w.clock.started = w.started
	w.state = check.NewWatching(tool(), needs, targets)
	if o.metrics != "" {
		server, err := w.serve(ctx)
		if err != nil {
			return err
		}
		defer server.Close()
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	w.stop = stop
	reading, end := watching, time.Time{}
	if duration > 0 {
		end = time.Now().Add(duration)
		reading, stop = context.WithDeadline(watching, end)
		defer stop()
	}
	w.out = &cancellableWriter{ctx: reading, writer: a.stdout} // the end does not wait for a reader
	w.log = report.NewEventLog(w.out, o.interval, report.Options{Targets: w.several})
	check.Watch(watching, needs, targets, check.WatchOptions{
		Options:  check.Options{Tool: tool(), Timeout: o.timeout, Parallel: o.parallel, ShowCommand: o.showCommand, Job: a.ownJob()},
		Interval: o.interval, End: end, Observe: w.observe,
	})
	return w.end(ctx, duration)
}

// watcher prints what a watch observes.
type watcher struct {
	*app
	*watchOptions
	state   *check.Watching
	out     *cancellableWriter // stdout
	log     *report.EventLog
	stop    func()
	several bool // targets
	started time.Time
	clock   clock
	base    *check.Listing  // nil: none
	noted   map[string]bool // the targets that may not be the machine of the baseline
	explain check.Explanations
	warned  map[string]bool // what was written about targets
	done    bool            // --until has come true
	failed  error           // of stdout
}

// unread is how long a line may take before that is worth a note.
const unread = time.Second

// observe prints what a round has found out.
func (w *watcher) observe(x check.Observation) {
	if w.done || w.failed != nil {
		return
	}
	w.noteClock()
	before := w.state.Add(x, w.anomalies)
	w.noteOutage(before, x)
	w.warnOf(x.Target, x.Notices, w.warned)
	start := time.Now()
	w.failed = w.print(x)
	if f, ok := fileOf(w.app.stdout); ok && w.failed == nil && w.until == "" {
		w.failed = checkReader(f) // there may be no event for hours
	}
	if w.failed != nil {
		w.stop()
		return
	}
	if took := time.Since(start); took > unread {
		w.logf("nobody read the output for %s, in which nothing was asked: changes may be missing", took.Round(time.Second))
	}
	if w.until == "" || !w.state.Asked() {
		return
	}
	switch r := w.state.Report(); {
	case w.until == "met" && r.OK, w.until == "unmet" && r.Summary.Errors+r.Summary.Warnings > 0:
		w.done = true
		w.stop()
	}
}

// readBaseline reads the baseline and what explains listeners that are not in it.
func (w *watcher) readBaseline(ctx context.Context, needs []check.Need) error {
	if w.baseline == "" {
		return nil
	}
	if err := w.refuseToRead(append([]string{w.baseline}, w.allow...)...); err != nil {
		return err
	}
	base, err := w.readList(ctx, new(report.Reader), w.baseline, w.readBounds())
	if err != nil {
		return err
	}
	w.base = &base
	w.explain, err = w.explanations(ctx, w.explainOptions)
	for _, n := range needs {
		w.explain.Needs = append(w.explain.Needs, n.Port)
	}
	return err
}

// anomalies counts what differs from the baseline and is not explained. It returns nil
// without a baseline.
func (w *watcher) anomalies(now check.Listing) map[check.ChangeKind]int {
	if w.base == nil {
		return nil
	}
	counts := map[check.ChangeKind]int{check.Appeared: 0, check.ChangedHands: 0, check.ExposedMore: 0}
	d := check.NewDiff(*w.base, now, w.explain, check.CompareOptions{})
	if !w.noted[d.Now.Name] {
		for _, text := range d.Warnings {
			w.noted[d.Now.Name] = true
			w.note("warning: %s: %s", report.Safe(d.Now.Name), safeWords(text))
		}
	}
	for _, c := range d.Changes {
		if c.Anomaly {
			counts[c.Kind]++
		}
	}
	return counts
}

// print writes the events of a round to stdout, each line at once.
func (w *watcher) print(x check.Observation) error {
	if w.format == "text" {
		return w.log.Add(x)
	}
	for _, e := range x.Events {
		if err := report.EventFormats[w.format](w.out, e, report.Options{}); err != nil {
			return err
		}
	}
	return nil
}

// noteOutage says once that a target can't be asked, and once that it can again.
func (w *watcher) noteOutage(before check.WatchedTarget, x check.Observation) {
	name := report.Safe(x.Target)
	switch {
	case x.Err != nil && before.Down.IsZero():
		w.logf("%s can't be asked, so nothing is known of it until it can: %s", name, safeWords(x.Err.Error()))
	case x.Err == nil && !before.Down.IsZero():
		w.note("%s answers again, after %s; what has changed meanwhile follows", name, time.Since(before.Down).Round(time.Second))
	case x.Err == nil && before.Rounds == before.Failed:
		n := 0
		for _, count := range x.Listeners {
			n += count
		}
		w.note("watching %s every %s; listeners now: %d, needs: %d", name, w.interval, n, len(x.Results))
	}
}

// warnOf writes the warnings about a target to stderr, those of them that were not
// written yet.
func (a *app) warnOf(target string, notices []check.Notice, written map[string]bool) {
	for _, n := range notices {
		if text := target + ": " + n.Message; n.Severity == config.SeverityWarning && !written[text] {
			written[text] = true
			a.logf("warning: %s", safeWords(text))
		}
	}
}

// note writes a line to stderr unless --quiet is set.
func (w *watcher) note(format string, args ...any) {
	if !w.quiet {
		w.logf(format, args...)
	}
}

// end prints the summary and returns the outcome.
func (w *watcher) end(ctx context.Context, duration time.Duration) error {
	if w.failed == nil && w.format == "text" {
		w.failed = w.log.Close()
	}
	if readerGone(w.failed) && w.until == "" {
		return nil // the reader, such as head, has seen enough
	}
	if w.out.stuck.Load() {
		w.failed = errors.New("nobody reads them")
	}
	w.summarize()
	switch {
	case w.failed != nil:
		return writeFailure("the events", w.failed)
	case w.done:
		return nil
	case ctx.Err() != nil && (w.until == "met" || w.until == "unmet"):
		return context.Cause(ctx) // it has not come true
	case ctx.Err() == nil && duration > 0:
		w.app.report, w.app.verdict = w.state.Report(), verdictOptions{failOn: "warning"}
		return w.unasked()
	}
	return nil
}

// unasked returns an error if at the end nothing is known of a target.
func (w *watcher) unasked() error {
	var names []string
	for _, t := range w.state.Targets() {
		if t.Rounds == 0 || t.Err != nil {
			names = append(names, report.Safe(t.Target))
		}
	}
	if len(names) == 0 {
		return nil
	}
	more := ""
	if n := len(names) - mostUnasked; n > 0 {
		names, more = names[:mostUnasked], fmt.Sprintf(" and %d more", n)
	}
	return unknownError(fmt.Errorf("what listens at the end is not known of %s%s", strings.Join(names, ", "), more))
}

// mostUnasked is how many targets an error names.
const mostUnasked = 3

// summarize prints how many changes there were.
func (w *watcher) summarize() {
	counts, rounds, failed := map[check.EventKind]int{}, 0, 0
	for _, t := range w.state.Targets() {
		rounds, failed = rounds+t.Rounds, failed+t.Failed
		for kind, n := range t.Counts {
			counts[kind] += n
		}
	}
	text := fmt.Sprintf("watched for %s in %s: %d taken, %d freed, %d changed", time.Since(w.started).Round(time.Second), check.Counted(rounds, "round"), counts[check.Taken], counts[check.Freed], counts[check.Changed])
	if failed > 0 {
		text += fmt.Sprintf("; in %s a target could not be asked", check.Counted(failed, "round"))
	}
	if r := w.state.Report(); r.Summary.Checked > 0 {
		text += "; needs: " + report.Counts(r.Summary)
	}
	w.note("%s", text)
}

// whoHas names the listeners in the way of an address of this machine, else the command
// that lists them.
func (w *watcher) whoHas(ctx context.Context, at netip.AddrPort) string {
	ctx, cancel := context.WithTimeout(ctx, promptPatience)
	defer cancel()
	there := config.Port{Ports: port.Range{First: at.Port(), Last: at.Port()}, Protocols: []port.Protocol{port.TCP}}
	if address, err := port.ParseAddress(at.Addr().String()); err == nil {
		there.Addresses = []port.Address{address}
	}
	var names []string
	_ = w.onTarget("local", hereOptions, func(t check.Target) error { // else nobody is named
		listing, err := check.List(ctx, t, check.Options{Timeout: promptPatience})
		for _, h := range listing.Sockets {
			if h.PID > 0 && h.Process != "" && onPort(h, there) {
				names = append(names, fmt.Sprintf("%s (pid %d)", report.Safe(h.Process), h.PID))
			}
		}
		return err
	})
	names = slices.Compact(names)
	if len(names) == 0 || len(names) > namesListed {
		return fmt.Sprintf("; `portcheck list -p %d/tcp` shows by whom", at.Port())
	}
	return " by " + strings.Join(names, ", ") + ": name another port"
}

// serve starts the server of the metrics.
func (w *watcher) serve(ctx context.Context) (io.Closer, error) {
	at, err := metrics.ParseAddress(w.metrics)
	if err != nil {
		return nil, usageError(fmt.Errorf("--metrics %q: %w", w.metrics, err), "")
	}
	server, err := metrics.Listen(ctx, at, metrics.Pages{
		Metrics: func(out io.Writer) error { return report.Metrics(out, w.state, time.Now()) },
		Health: func() error {
			if target, late := w.state.Late(); late > 3*w.interval+w.timeout {
				return fmt.Errorf("the round of %s is late by %s", report.Safe(target), late.Round(time.Second))
			}
			return nil
		},
	})
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w%s", err, w.whoHas(ctx, at))
		}
		return nil, unknownError(fmt.Errorf("--metrics %s: %w", w.metrics, err))
	}
	w.note("metrics at http://%s/metrics", server.Addr())
	return server, nil
}
