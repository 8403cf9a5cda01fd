package reference

import (
	"database/sql"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// schema are the tables of the reference's database that are read.
const schema = `
create table version (vlock int, version varchar(256));
create table users (userid bigint, username varchar(256), status varchar(256) default '', passwordhash varchar(256) default '', salt varchar(256) default '', userdata text default '', createdate timestamptz, expirydate timestamptz);
create table workers (workerid bigint, userid bigint, workername varchar(256), createdate timestamptz, expirydate timestamptz);
create table workinfo (workinfoid bigint, bits varchar(64), createdate timestamptz, expirydate timestamptz);
create table blocks (height int, blockhash varchar(256), workinfoid bigint, userid bigint, workername varchar(256), reward bigint, confirmed varchar(1), info varchar(64),
	createdate timestamptz, expirydate timestamptz);
create table poolstats (poolinstance varchar(256), users int, workers int, hashrate float8, hashrate5m float8, hashrate1hr float8, hashrate24hr float8, createdate timestamptz);
create table markersummary (markerid bigint); create table shares (x int); create table paymentaddresses (x int); create table payments (x int);
create table payouts (x int); create table miningpayouts (x int); create table useratts (userid bigint, attname varchar(64), createdate timestamptz, expirydate timestamptz); create table optioncontrol (x int);
insert into version values (1, '1.0.8');
insert into users (userid, username, createdate, expirydate) values (1, 'Alice', '2017-06-16 06:00:00+00', '6666-06-06 06:06:06+00'), (1, 'old', '2017-06-15 06:00:00+00', '2017-06-16 06:00:00+00'),
	(2, '1BoatSLRHtKNngkdXEeobR76b53LETtpyT', '2017-06-16 06:00:01+00', '6666-06-06 06:06:06+00');
insert into workers values (10, 1, 'Alice.rig1', '2017-06-16 06:00:02+00', '6666-06-06 06:06:06+00'), (11, 1, 'Alice_rig2', '2017-06-16 06:00:02+00', '6666-06-06 06:06:06+00');
insert into workinfo values (6432090123456, '18019fb9', '2017-06-16 06:00:00+00', '6666-06-06 06:06:06+00');
insert into poolstats values ('main1', 12, 34, 8589934592, 4294967296, 2147483648, 1073741824, '2017-06-16 06:10:00.000001+00');
insert into markersummary values (1), (2);
`

func fate(hash, confirmed, info, created string) string {
	return fmt.Sprintf("insert into blocks values (467207, '%s', 6432090123456, 1, 'Alice.rig1', 1433214567, '%s', '%s', '%s', '6666-06-06 06:06:06+00')", hash, confirmed, info, created)
}

// theirs is an empty database for a pool of the reference, and a way to write to it.
func theirs(t testing.TB) (url string, db *sql.DB, do func(query string)) {
	t.Helper()
	url = postgres.Database(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return url, db, func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatabase(t *testing.T) {
	url, _, do := theirs(t)
	s := open(t, t.TempDir())
	read := func() DatabaseSummary {
		t.Helper()
		i := DatabaseImport{URL: url, Name: "old", Network: "main", Store: s, By: "ann"}
		sum, err := i.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		consistent(t, s)
		return sum
	}
	i := DatabaseImport{URL: url, Name: "old", Network: "main", Store: s, By: "ann"}
	if _, err := i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "it is none of the reference's") {
		t.Errorf("an empty database: %v", err)
	}
	do(schema)
	const hash = "445566770011223389abcdef01234567ccddeeff0012aabb0000000000000000"
	do(fate(hash, "n", "", "2017-06-16 06:01:00+00"))
	do(fate(hash, "1", "", "2017-06-16 06:01:01+00"))
	do(fate(hash, "1", "", "2017-06-16 06:20:00+00"))
	do(fate("x", "n", "", "2017-06-16 06:01:01+00"))
	sum := read()
	if !sum.New || sum.Accounts != 2 || sum.Workers != 3 || sum.Blocks != 1 || sum.Minutes != 1 || sum.Damaged != 1 ||
		!maps.Equal(sum.LeftOut, map[string]int64{"markersummary": 2, "workinfo": 1}) {
		t.Errorf("%+v", sum)
	}
	block := func(state string, confirmations int64, note string) {
		t.Helper()
		list, err := s.Blocks(t.Context(), 0)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v %v", list, err)
		}
		if b := list[0]; b.State != state || b.Confirmations != confirmations || b.Note != note || b.Height != 467207 || b.Reward != 1433214567 ||
			b.Found != 1497592860_000000 || b.Finder != (store.Worker{Kind: store.User, Account: "Alice", Name: "rig1"}) ||
			b.Difficulty != difficulty.ExactOf(difficulty.FromBits(0x18019fb9)) {
			t.Errorf("%+v", b)
		}
	}
	block("confirmed", 1, "")
	before := contents(t, s)
	if sum := read(); sum.New || contents(t, s) != before {
		t.Errorf("a second import changes: %+v", sum)
	}
	// What became of it since.
	do(fate(hash, "O", "Stale:too late", "2017-06-16 07:00:00+00"))
	if sum := read(); !sum.New || sum.Blocks != 1 {
		t.Errorf("%+v", sum)
	}
	block("orphaned", 0, "Stale:too late")
	minutes, err := s.Minutes(t.Context(), instanceOf("database", "old"), 0)
	if err != nil || len(minutes) != 1 || minutes[0].At != 1497593400_000001 || minutes[0].Rate1h != exact(t, "0.5") {
		t.Errorf("%+v %v", minutes, err)
	}
	do("update version set version = '2.0'")
	if _, err := i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "it is of version 2.0 of the reference: want 1.0") {
		t.Errorf("a later version: %v", err)
	}
}
