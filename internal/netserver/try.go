//go:build linux

package netserver

import "context"

// Try binds every address of the urls, as a server with all of them would, and
// lets go of them again. It returns what each of them failed for, nil for what can
// be listened on; an error wraps the system's errno.
func Try(ctx context.Context, urls []string) []error {
	s := &Server{}
	errs := make([]error, len(urls))
	var bound []*Listener
	var failed bindErrors
	for i, url := range urls {
		t, err := parseTarget(ctx, Endpoint{URL: url})
		if err == nil {
			l, own := s.bind(t, bound, failed)
			bound, failed = append(bound, l), append(failed, own...)
			if own != nil {
				err = own
			}
		}
		errs[i] = err
	}
	for _, l := range bound {
		l.close()
	}
	return errs
}
