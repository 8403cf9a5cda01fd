package getopt

import "testing"

func TestExplain(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"-X"}, "invalid option -- 'X'"},
		{[]string{"-LX"}, "invalid option -- 'X'"},
		{[]string{"--nothing"}, "unrecognized option '--nothing'"},
		{[]string{"--nothing=1"}, "unrecognized option '--nothing'"},
		{[]string{"-n"}, "option requires an argument -- 'n'"},
		{[]string{"--name"}, "option '--name' requires an argument"},
		{[]string{"--killold=x"}, "option '--killold' doesn't allow an argument"},
		{[]string{"--loglevel", "x"}, `option '--loglevel': invalid argument "x"`},
	}
	for _, tt := range tests {
		err := Explain(flags().Parse(tt.args))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: got %v, want %s", tt.args, err, tt.want)
		}
	}
	if err := Explain(nil); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}
