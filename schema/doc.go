// Package schema holds the JSON Schemas of what portcheck reads and writes, for
// editors and programs. Its tests compare them with the code.
package schema
