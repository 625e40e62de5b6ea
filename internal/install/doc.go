// Package install tests the ways of installing a release: setup/install.sh and the
// action setup, with a release that is served on loopback.
package install
