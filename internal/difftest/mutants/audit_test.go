package mutants

// plantedInRecording are bugs of what is told to the audit log.
var plantedInRecording = []mutant{
	{
		name: "writes are served without an intent",
		file: "guard/stages.go",
		old:  "\t(*Guard).recordIntent,\n",
		new:  "",
	},
	{
		name: "a new action is taken for a read",
		file: "guard/record.go",
		old:  "return true // what is new is a write until somebody says otherwise",
		new:  "return action != etcdapi.MaintenanceDefragment",
	},
	{
		name: "a denial is not on record",
		file: "guard/guard.go",
		old:  "return nil, g.recordDenied(ctx, r, err)",
		new:  "return nil, err",
	},
	{
		name: "an outcome that could not be recorded is answered as if it were",
		file: "guard/record.go",
		old:  "return status.Error(codes.Unavailable, \"etcdguard: outcome unknown: \"+err.Error())",
		new:  "_ = codes.Unavailable",
	},
	{
		name: "a password is on record",
		file: "guard/record.go",
		old:  "case *pb.AuthUserAddRequest:\n\t\treturn m.Name",
		new:  "case *pb.AuthUserAddRequest:\n\t\treturn m.Name + m.Password",
	},
	{
		name: "values are counted as they are stored",
		file: "guard/opener.go",
		old:  "o.bytes += int64(len(value) - len(dst))",
		new:  "o.bytes += int64(len(kv.Value))",
	},
	{
		name: "denials are thinned, too",
		file: "guard/record.go",
		old:  "case e.Decision == audit.NotLet: // the answer itself was judged",
		new:  "case false:",
	},
}
