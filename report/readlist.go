package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// mostListed is how many rows a list may have. More than that of a usual size do not fit
// into a file either.
const mostListed = 1 << 15

const wantList = "want the output of `portcheck list -f json`"

// ReadList reads a list as list -f json writes it, from a source that need not be
// trusted. Its sockets have valid protocols, addresses and ports, and it has one
// target. Unknown fields are dropped. Text is raw, with any control characters. An
// error has the position, if it is about a place in the file.
func (l *Reader) ReadList(file string, r io.Reader) (check.Listing, error) {
	at := config.Position{File: file}
	data, err := readJSON(r)
	switch {
	case err != nil:
		return check.Listing{}, config.Problem{Position: at, Message: err.Error()}
	case len(data) > maxBytes:
		return check.Listing{}, config.Problem{Position: at, Message: "is larger than 16 MiB, the limit of a list"}
	case len(bytes.TrimSpace(data)) == 0:
		return check.Listing{}, config.Problem{Position: at, Message: "is empty: " + wantList}
	}
	wrong := func(offset int, format string, args ...any) error {
		return config.Problem{Position: positionOf(file, data, offset), Message: fmt.Sprintf(format, args...)}
	}
	if err := l.count(data); err != nil {
		return check.Listing{}, config.Problem{Position: at, Message: "has too many values: " + wantList}
	}
	var read struct {
		check.Listing
		Sockets []json.RawMessage `json:"sockets"`
		Results json.RawMessage   `json:"results"`
	}
	if err := json.Unmarshal(data, &read); err != nil {
		offset, text := listError(err)
		return check.Listing{}, wrong(offset, "%s", text)
	}
	switch {
	case read.Version == 0:
		return check.Listing{}, wrong(0, "is not a list of portcheck: version is missing; %s", wantList)
	case read.Version != jsonVersion:
		return check.Listing{}, wrong(0, "has list version %d; this portcheck reads version %d", read.Version, jsonVersion)
	case read.Results != nil:
		return check.Listing{}, wrong(0, "is a report of check: %s", wantList)
	case read.Targets == nil || read.Sockets == nil:
		return check.Listing{}, wrong(0, "is not a list of portcheck: want targets and sockets; %s", wantList)
	case len(read.Sockets) > mostListed:
		return check.Listing{}, wrong(offsetOf(data, "sockets", mostListed), "has more than 32,768 sockets, the limit of a list")
	case len(read.Targets) != 1:
		return check.Listing{}, wrong(0, "has %d targets: want one; %s", len(read.Targets), wantList)
	}
	if err := validateTarget(read.Targets[0], nil); err != nil {
		return check.Listing{}, wrong(offsetOf(data, "targets", 0), "targets[0].%s", err)
	}
	list := read.Listing
	list.Targets = targetsJSON(list.Targets)
	list.Sockets = make([]check.Holder, len(read.Sockets))
	for i, text := range read.Sockets {
		read.Sockets[i] = nil // the texts of all are as large as the file
		err := json.Unmarshal(text, &list.Sockets[i])
		inner := 0
		if err != nil {
			offset, why := listError(err)
			inner, err = offset, errors.New(why)
		} else {
			err = validateListed(list.Sockets[i])
		}
		if err != nil {
			return check.Listing{}, wrong(offsetOf(data, "sockets", i)+inner, "sockets[%d]: %s", i, err)
		}
	}
	return list, nil
}

func validateListed(h check.Holder) error {
	addr, err := netip.ParseAddr(h.Address)
	switch {
	case !slices.Contains(port.Protocols, h.Protocol):
		return fmt.Errorf("protocol %q: want tcp or udp", Safe(string(h.Protocol)))
	case err != nil:
		return fmt.Errorf("address %q: want an IP address", Safe(h.Address))
	case h.Listed != nil && h.Device != "" && addr.Zone() != "":
		return fmt.Errorf("device %q: the address has another one", Safe(h.Device))
	case h.Port == 0:
		return errors.New("port: want a number from 1 to 65535")
	case h.PID < 0 || h.UID != nil && *h.UID < 0:
		return errors.New("want a pid from 1 and a uid from 0")
	}
	return nil
}

// listError returns the offset and the text of an error of the JSON decoder.
func listError(err error) (int, string) {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	fields := strings.NewReplacer("Listing.", "", "Listed.", "") // embedded, and no part of the text
	switch {
	case errors.As(err, &kind) && kind.Field == "":
		return max(int(kind.Offset)-1, 0), fmt.Sprintf("is a JSON %s: %s", Safe(kind.Value), wantList)
	case errors.As(err, &kind):
		return max(int(kind.Offset)-1, 0), fmt.Sprintf("%s can't be a %s", Safe(fields.Replace(kind.Field)), Safe(kind.Value))
	case errors.As(err, &syntax):
		return max(int(syntax.Offset)-1, 0), fmt.Sprintf("is not JSON, or is incomplete: %s; %s", Safe(err.Error()), wantList)
	}
	return 0, fmt.Sprintf("is not a list: %s", Safe(err.Error()))
}

// offsetOf returns where an element of a list of the top object starts. The text has
// been parsed before.
func offsetOf(data []byte, name string, index int) int {
	dec := json.NewDecoder(bytes.NewReader(data))
	_, _ = dec.Token() // {
	for dec.More() {
		key, err := dec.Token()
		var skipped json.RawMessage
		if err == nil && key != name {
			err = dec.Decode(&skipped)
		}
		if err != nil {
			return 0
		}
		if key != name {
			continue
		}
		_, _ = dec.Token() // [
		for range index {
			_ = dec.Decode(&skipped) // the error would be one of the parse before
		}
		at := int(dec.InputOffset())
		for at < len(data) && bytes.IndexByte([]byte(" \t\r\n,"), data[at]) >= 0 {
			at++
		}
		return at
	}
	return 0
}

// positionOf returns a position in a file. Columns count characters.
func positionOf(file string, data []byte, offset int) config.Position {
	before := data[:min(offset, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return config.Position{File: file, Line: bytes.Count(before, []byte("\n")) + 1, Column: utf8.RuneCount(before[start:]) + 1}
}
