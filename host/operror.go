package host

import "strconv"

// opError is an error of one operation, such as "read /proc/net/tcp".
type opError struct {
	op  string
	err error
}

func (e *opError) Error() string { return e.op + ": " + e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

// opName returns the name of an operation of net as it is on Unix. On Windows net
// names the calls that it makes there.
func opName(syscall string) string {
	switch syscall {
	case "connectex":
		return "connect"
	case "wsasocket":
		return "socket"
	}
	return syscall
}

// windowsErrors are names of errors of Windows that are none of Winsock
// (https://learn.microsoft.com/windows/win32/debug/system-error-codes).
var windowsErrors = map[int]string{
	2: "ERROR_FILE_NOT_FOUND", 5: "ERROR_ACCESS_DENIED", 6: "ERROR_INVALID_HANDLE", 8: "ERROR_NOT_ENOUGH_MEMORY", 50: "ERROR_NOT_SUPPORTED",
	87: "ERROR_INVALID_PARAMETER", 120: "ERROR_CALL_NOT_IMPLEMENTED", 121: "ERROR_SEM_TIMEOUT", 122: "ERROR_INSUFFICIENT_BUFFER",
	1225: "ERROR_CONNECTION_REFUSED", 1231: "ERROR_NETWORK_UNREACHABLE", 1232: "ERROR_HOST_UNREACHABLE", 1314: "ERROR_PRIVILEGE_NOT_HELD", 1332: "ERROR_NONE_MAPPED",
}

// windowsErrorName returns the name of an error of Windows without one of its own.
func windowsErrorName(n int) string {
	const first, last = 10000, 11999 // Winsock's
	switch name := windowsErrors[n]; {
	case name != "":
		return name
	case n >= first && n <= last:
		return "WSA error " + strconv.Itoa(n)
	}
	return "Windows error " + strconv.Itoa(n)
}
