// Command demo shows portcheck at work on any machine: it takes port 8080, as a
// forgotten process would, and has portcheck check the example shop.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
)

func main() {
	l, err := net.Listen("tcp", ":8080")
	if err == nil {
		defer l.Close()
	} // else somebody else has it: just as good
	check := exec.Command("go", "run", ".", "testdata/shop/portcheck.yml")
	check.Stdout, check.Stderr = os.Stdout, os.Stderr
	err = check.Run()
	var found *exec.ExitError
	if err != nil && !errors.As(err, &found) {
		fmt.Fprintln(os.Stderr, "demo: run this in the root of the repository:", err)
		os.Exit(2)
	}
}
