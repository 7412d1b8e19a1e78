package difftest

// unreachable lists what a run against a cluster of one can't send or get, with
// the reason. Everything else that the descriptors know must come up.
var unreachable = map[string]string{}

// wantErrors are answers that a run must provoke.
var wantErrors = []string{}
