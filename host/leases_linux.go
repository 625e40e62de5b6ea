package host

// leaseUser returns the name of the user of a keeper.
func leaseUser(uid int) (string, error) { return machineUsers().name(uid) }
