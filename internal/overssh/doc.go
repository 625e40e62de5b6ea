// Package overssh tests the program against hosts that it reaches by SSH: real
// sshds of Debian in network namespaces that the tests make.
package overssh
