// Package overssh tests the program against SSH hosts: sshd in network namespaces
// that the tests create, and hostile servers.
package overssh
