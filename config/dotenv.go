package config

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/sirupsen/logrus"
)

// readDotEnv returns the variables of the file .env of a directory, if there is one.
func readDotEnv(dir string, o Options) (map[string]string, []problem) {
	// The library writes a warning for each variable that is not set.
	logrus.SetOutput(io.Discard)
	name := filepath.Join(dir, ".env")
	if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	data, _, found := readFile(name, o.Bounds)
	if len(found) > 0 {
		return nil, found
	}
	var env map[string]string
	err := catchPanic(func() (err error) {
		env, err = dotenv.UnmarshalBytesWithLookup(data, o.getenv)
		return err
	})
	if err != nil { // its text may contain values
		return nil, []problem{newProblem(Position{File: name}, badDotEnv)}
	}
	return env, nil
}
