// Package callers tests the program's verdicts on ports with NAT rules against real
// callers: if a port is free, do they reach the app?
package callers
