package engine

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
)

// FileStat describes a file of a container.
type FileStat struct {
	Name       string
	Size       int64
	Mode       fs.FileMode
	LinkTarget string // where a symbolic link leads to
}

var errMoreFiles = errors.New("its archive of one file has more than one")

// ErrNotRegular is the error of File for what is not a regular file.
var ErrNotRegular = errors.New("it is not a regular file")

// Stat describes the file at a path of a container that need not run. Docker
// follows the links of the path except the last.
func (e *Engine) Stat(ctx context.Context, id, path string) (FileStat, error) {
	response, err := e.archive(ctx, http.MethodHead, id, path)
	if err != nil {
		return FileStat{}, err
	}
	defer response.Body.Close()
	return e.stat(response, path)
}

// File returns the description and the content of the regular file at a path of
// a container that need not run. The caller closes the content.
func (e *Engine) File(ctx context.Context, id, path string) (FileStat, io.ReadCloser, error) {
	response, err := e.archive(ctx, http.MethodGet, id, path)
	if err != nil {
		return FileStat{}, nil, err
	}
	stat, err := e.stat(response, path)
	if err != nil {
		response.Body.Close()
		return stat, nil, err
	}
	op := response.Request.Method + " " + response.Request.URL.Path
	files := tar.NewReader(response.Body)
	header, err := files.Next()
	switch {
	case err != nil:
		err = e.unreached(op, err)
	case !stat.Mode.IsRegular(), stat.LinkTarget != "", header.Typeflag != tar.TypeReg, header.Name != stat.Name, header.Size != stat.Size:
		err = ErrNotRegular
	}
	if err != nil {
		response.Body.Close()
		return stat, nil, err
	}
	return stat, content{files, response.Body, func(err error) error { return e.unreached(op, err) }}, nil
}

// content is the content of the only file of an archive, with errors that name the
// engine.
type content struct {
	file *tar.Reader
	io.Closer
	unreached func(error) error
}

func (c content) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	if errors.Is(err, io.EOF) {
		if _, more := c.file.Next(); !errors.Is(more, io.EOF) {
			err = cmp.Or(more, errMoreFiles)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.unreached(err)
	}
	return n, err
}

func (e *Engine) archive(ctx context.Context, method, id, path string) (*http.Response, error) {
	return e.send(ctx, method, "/containers/"+url.PathEscape(id)+"/archive", url.Values{"path": {path}}, nil)
}

// stat reads the header that the archive requests are answered with.
func (e *Engine) stat(response *http.Response, path string) (s FileStat, err error) {
	text, err := base64.StdEncoding.DecodeString(response.Header.Get("X-Docker-Container-Path-Stat"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		err = e.unreached(response.Request.Method+" "+response.Request.URL.Path, errNotAnEngine)
	}
	if s.LinkTarget == path { // Podman sets it for every file, to its path after all links
		s.LinkTarget = ""
	}
	return s, err
}
