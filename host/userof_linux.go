package host

// userOf returns the name of a user of the machine, "" for a uid that has none.
func userOf(uid int) (string, error) { return machineUsers().name(uid) }
