// Package fleets tests how many hosts are checked at a time: the role of
// examples/ansible, run by Ansible against hosts that the tests make.
package fleets
