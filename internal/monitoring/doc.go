// Package monitoring tests examples/monitoring: Prometheus scrapes a watch and its alerts
// fire, and systemd accepts the unit.
package monitoring
