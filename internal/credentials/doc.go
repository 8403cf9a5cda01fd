// Package credentials is what people log in with: passwords, one-time codes (RFC 6238),
// recovery codes and tokens for programs, how often these may be tried, and what each
// role may do. It computes and compares; where anything is kept it does not know: that
// is a [Keeper]'s, which uses a code up in the same transaction that lets somebody in.
package credentials
