package netserver
var roles = map[string]func() int{}
