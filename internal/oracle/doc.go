// Package oracle compares portcheck's verdicts with what real servers then do. For
// every situation on a port, every server and two users it runs portcheck, starts
// the server and compares. It shares no code with what it tests.
//
// The verdict has to be ok if and only if the server then holds every endpoint of
// its manifest entry, all clients of these endpoints reach it, and no new client of
// an earlier listener reaches another program than before.
//
// By default a fifth of the matrix runs. All of it runs in .ci/run, and with:
//
//	PORTCHECK_ORACLE=full go test -v ./internal/oracle
package oracle
