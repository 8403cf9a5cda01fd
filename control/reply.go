package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/sharelog"
)

// Encode is the reply that holds v, in the layout of all replies: one line, ", "
// and ": " between its parts, members in the order of v's fields and named by
// their json tags, real numbers with as many digits as give back the same, or as
// the tag "digits" says. What is empty and whose tag has omitempty is left out, and so
// is an embedded pointer that is nil; another one is null. It takes the types of this package, and
// structs whose fields are all exported, pointers to them, slices, strings, numbers that are not
// complex, and truth values, and panics where there is anything else.
func Encode(v any) string { return string(appendValue(nil, reflect.ValueOf(v), realDigits)) }

// realDigits give back the same double.
const realDigits = 17

func appendValue(b []byte, v reflect.Value, digits int) []byte {
	switch of := v.Interface().(type) {
	case Time:
		return strconv.AppendInt(b, of.seconds(), 10)
	case Counts:
		o := sharelog.NewObject(b)
		for _, c := range of {
			o.Int(c.Name, c.Count)
		}
		return o.Close()
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, "null"...)
		}
		return appendValue(b, v.Elem(), digits)
	case reflect.Struct:
		o := sharelog.NewObject(b)
		putFields(&o, v)
		return o.Close()
	case reflect.Slice:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendValue(b, v.Index(i), digits)
		}
		return append(b, ']')
	case reflect.String:
		return sharelog.AppendString(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	}
	switch {
	case v.CanInt():
		return strconv.AppendInt(b, v.Int(), 10)
	case v.CanUint():
		return strconv.AppendUint(b, v.Uint(), 10)
	case v.CanFloat():
		return sharelog.AppendReal(b, v.Float(), digits)
	}
	panic(fmt.Sprintf("control: no form for %v in replies", v.Type()))
}

func putFields(o *sharelog.Object, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			inner := v.Field(i)
			if inner.Kind() == reflect.Pointer {
				if inner.IsNil() {
					continue
				}
				inner = inner.Elem()
			}
			putFields(o, inner)
			continue
		}
		key, option := key(f)
		if option == "omitempty" && v.Field(i).IsZero() {
			continue
		}
		digits := realDigits
		if n, err := strconv.Atoi(f.Tag.Get("digits")); err == nil {
			digits = n
		}
		o.Raw(key, appendValue(nil, v.Field(i), digits))
	}
}

// key is the name of a member, and the option behind it.
func key(f reflect.StructField) (name, option string) {
	name, option, _ = strings.Cut(f.Tag.Get("json"), ",")
	return name, option
}

// fault is a reply that says that a command was not carried out, and why.
type fault struct {
	Text string `json:"errormsg"`
}

// Fault is the reply of a command that was not carried out, for the reason err.
func Fault(err error) string { return Encode(fault{err.Error()}) }

// Failed reports whether a reply says that the command was not carried out:
// it is unknown, failed, invalid or a [Fault].
func Failed(reply string) bool {
	switch strings.ToLower(reply) {
	case "unknown", "failed", "invalid":
		return true
	}
	return strings.HasPrefix(reply, strings.TrimSuffix(Encode(fault{}), `: ""}`))
}

// Refusal is why a command was not carried out, as its reply says: the text of a
// [Fault], else the reply itself, which is a word then.
func Refusal(reply string) string {
	f := fault{reply}
	_ = json.Unmarshal([]byte(reply), &f)
	return f.Text
}

// Counts are numbers by name, in the order of the pool's list of names.
type Counts []Count

// Count is one of Counts.
type Count struct {
	Name  string // what is counted
	Count int64  // how many
}

// Of is the number of a name, 0 for one that is not there.
func (c Counts) Of(name string) int64 {
	for _, k := range c {
		if k.Name == name {
			return k.Count
		}
	}
	return 0
}

// UnmarshalJSON reads an object, keeping its order.
func (c *Counts) UnmarshalJSON(b []byte) error {
	*c = nil
	d := json.NewDecoder(bytes.NewReader(b))
	open, err := d.Token()
	if err != nil || open == nil { // null
		return err
	}
	if open != json.Delim('{') {
		return fmt.Errorf("counts are no object but %.20s", b)
	}
	*c = Counts{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var k Count
		if err := d.Decode(&k.Count); err != nil {
			return fmt.Errorf("count of %q: %w", name, err)
		}
		k.Name, _ = name.(string)
		*c = append(*c, k)
	}
	return nil
}
