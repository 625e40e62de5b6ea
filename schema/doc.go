// Package schema holds the JSON Schemas of what portcheck reads and writes, for
// editors and for programs; its tests hold them and the code together.
package schema
