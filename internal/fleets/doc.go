// Package fleets tests checks of many hosts at a time: Ansible runs the role of
// examples/ansible against hosts that the tests create.
package fleets
