// Package oracle tests portcheck's word against what real servers then do: for
// every situation on a port, every server and two users it asks portcheck,
// starts the server and compares. It shares no code with what it tests.
//
// portcheck has to say ok if and only if afterwards the server holds every
// endpoint that its manifest entry names, whoever calls there reaches it, and
// no new client of an earlier listener reaches another than before.
//
// A fifth of the matrix runs by default, all of it with:
//
//	PORTCHECK_ORACLE=full go test -v ./internal/oracle
package oracle
