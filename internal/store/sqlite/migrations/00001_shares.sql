-- +goose Up
-- Times are microseconds since 1970, UTC; hours are counted since then. Work is in
-- difficulty: where it is summed, in units of 1e-12, column = 1e18 * high + low; else
-- (column best, achieved) as 16 bytes, most significant first. Instances, accounts, workers and agents are named by numbers of this
-- database; jobs by the number of their instance.
create table ckdb (
	one integer primary key default 1 check (one = 1),
	network text not null default ''
) strict;
insert into ckdb default values;

create table instances (
	id integer primary key,
	uid blob not null unique check (length(uid) = 16),
	name text not null,
	network text not null,
	-- the last record of its journal that is in the database, what tells its epoch from
	-- others of that number, and its time
	epoch integer not null default 0,
	number integer not null default 0,
	life text not null default '',
	history integer not null default 0, -- how often an older copy was put back
	at integer not null default 0,
	-- sums that are still in table pending, and when they are folded
	pending integer not null default 0,
	fold_at integer not null default 0,
	-- shares in the database, seen again, and too old to tell
	shares integer not null default 0,
	repeated integer not null default 0,
	expired integer not null default 0
) strict;

-- the last record of each epoch before that is in the database
create table epochs (
	instance integer not null references instances,
	life text not null,
	epoch integer not null,
	number integer not null,
	primary key (instance, life)
) strict;

create table gaps (
	instance integer not null references instances,
	epoch integer not null,
	first integer not null,
	last integer not null,
	seen integer not null,
	cause text not null check (cause in ('damaged', 'lost', 'missing', 'replaced')),
	primary key (instance, epoch, first)
) strict;

create table accounts (
	id integer primary key,
	kind text not null check (kind in ('address', 'user')),
	folded text not null,
	name text not null,
	created integer not null,
	unique (kind, folded)
) strict;

create table workers (
	id integer primary key,
	account integer not null references accounts,
	name text not null,
	created integer not null,
	unique (account, name)
) strict;

create table agents (
	id integer primary key,
	name text not null unique
) strict;

create table seen (
	instance integer not null references instances,
	worker integer not null references workers,
	at integer not null,
	primary key (instance, worker)
) strict;

create table jobs (
	instance integer not null references instances,
	id integer not null,
	history integer not null, -- of the instance then; jobs are in the order of this and what follows
	epoch integer not null,
	number integer not null,
	height integer not null,
	prevhash blob not null,
	bits integer not null,
	difficulty_high integer not null,
	difficulty_low integer not null,
	version integer not null,
	ntime integer not null,
	reward integer not null,
	created integer not null,
	record blob not null,
	block integer not null default 0, -- when one was found, 0: none
	shift integer not null default 0,
	primary key (instance, id)
) strict;
create index jobs_of_shift on jobs (instance, shift);

create table shifts (
	instance integer not null references instances,
	number integer not null,
	name text not null,
	first_job integer not null,
	last_job integer not null,
	jobs integer not null,
	started integer not null,
	ended integer not null, -- 0: still open
	reason text not null,
	primary key (instance, number)
) strict;

create table shares (
	ntime integer not null,
	number integer not null,
	epoch integer not null,
	received integer not null,
	job integer not null,
	worker integer not null,
	agent integer not null,
	instance integer not null,
	scheme integer not null,
	hash blob not null,
	credit_high integer not null,
	credit_low integer not null,
	achieved blob not null,
	primary key (ntime, hash)
) strict, without rowid;

-- Days that shares have a partition of. dropped: 1 it is being dropped, 2 it is gone.
create table share_days (
	day integer primary key,
	dropped integer not null default 0
) strict;

create table pending (
	job integer not null,
	hour integer not null,
	worker integer not null,
	agent integer not null,
	instance integer not null,
	accepted integer not null default 0,
	accepted_work_high integer not null default 0,
	accepted_work_low integer not null default 0,
	stale integer not null default 0,
	stale_work_high integer not null default 0,
	stale_work_low integer not null default 0,
	duplicate integer not null default 0,
	duplicate_work_high integer not null default 0,
	duplicate_work_low integer not null default 0,
	above integer not null default 0,
	above_work_high integer not null default 0,
	above_work_low integer not null default 0,
	other integer not null default 0,
	other_work_high integer not null default 0,
	other_work_low integer not null default 0,
	repeated integer not null default 0,
	repeated_work_high integer not null default 0,
	repeated_work_low integer not null default 0,
	first_share integer not null default 0,
	last_share integer not null default 0,
	last_accepted integer not null default 0,
	best blob not null default x'00000000000000000000000000000000'
) strict;
-- Several rows may have one key: each fold of table pending appends its own.
create table job_sums (
	instance integer not null,
	job integer not null,
	hour integer not null,
	worker integer not null,
	agent integer not null,
	accepted integer not null default 0,
	accepted_work_high integer not null default 0,
	accepted_work_low integer not null default 0,
	stale integer not null default 0,
	stale_work_high integer not null default 0,
	stale_work_low integer not null default 0,
	duplicate integer not null default 0,
	duplicate_work_high integer not null default 0,
	duplicate_work_low integer not null default 0,
	above integer not null default 0,
	above_work_high integer not null default 0,
	above_work_low integer not null default 0,
	other integer not null default 0,
	other_work_high integer not null default 0,
	other_work_low integer not null default 0,
	repeated integer not null default 0,
	repeated_work_high integer not null default 0,
	repeated_work_low integer not null default 0,
	first_share integer not null default 0,
	last_share integer not null default 0,
	last_accepted integer not null default 0,
	best blob not null default x'00000000000000000000000000000000'
) strict;
create index job_sums_of_job on job_sums (instance, job);
create table shift_workers (
	instance integer not null,
	shift integer not null,
	worker integer not null,
	accepted integer not null default 0,
	accepted_work_high integer not null default 0,
	accepted_work_low integer not null default 0,
	stale integer not null default 0,
	stale_work_high integer not null default 0,
	stale_work_low integer not null default 0,
	duplicate integer not null default 0,
	duplicate_work_high integer not null default 0,
	duplicate_work_low integer not null default 0,
	above integer not null default 0,
	above_work_high integer not null default 0,
	above_work_low integer not null default 0,
	other integer not null default 0,
	other_work_high integer not null default 0,
	other_work_low integer not null default 0,
	repeated integer not null default 0,
	repeated_work_high integer not null default 0,
	repeated_work_low integer not null default 0,
	first_share integer not null default 0,
	last_share integer not null default 0,
	last_accepted integer not null default 0,
	best blob not null default x'00000000000000000000000000000000',
	primary key (instance, shift, worker)
) strict, without rowid;
create table worker_hours (
	instance integer not null,
	hour integer not null,
	worker integer not null,
	accepted integer not null default 0,
	accepted_work_high integer not null default 0,
	accepted_work_low integer not null default 0,
	stale integer not null default 0,
	stale_work_high integer not null default 0,
	stale_work_low integer not null default 0,
	duplicate integer not null default 0,
	duplicate_work_high integer not null default 0,
	duplicate_work_low integer not null default 0,
	above integer not null default 0,
	above_work_high integer not null default 0,
	above_work_low integer not null default 0,
	other integer not null default 0,
	other_work_high integer not null default 0,
	other_work_low integer not null default 0,
	repeated integer not null default 0,
	repeated_work_high integer not null default 0,
	repeated_work_low integer not null default 0,
	first_share integer not null default 0,
	last_share integer not null default 0,
	last_accepted integer not null default 0,
	best blob not null default x'00000000000000000000000000000000',
	primary key (instance, hour, worker)
) strict, without rowid;
create index worker_hours_of on worker_hours (worker, hour);
create table worker_days (
	instance integer not null,
	day integer not null,
	worker integer not null,
	accepted integer not null default 0,
	accepted_work_high integer not null default 0,
	accepted_work_low integer not null default 0,
	stale integer not null default 0,
	stale_work_high integer not null default 0,
	stale_work_low integer not null default 0,
	duplicate integer not null default 0,
	duplicate_work_high integer not null default 0,
	duplicate_work_low integer not null default 0,
	above integer not null default 0,
	above_work_high integer not null default 0,
	above_work_low integer not null default 0,
	other integer not null default 0,
	other_work_high integer not null default 0,
	other_work_low integer not null default 0,
	repeated integer not null default 0,
	repeated_work_high integer not null default 0,
	repeated_work_low integer not null default 0,
	first_share integer not null default 0,
	last_share integer not null default 0,
	last_accepted integer not null default 0,
	best blob not null default x'00000000000000000000000000000000',
	primary key (instance, day, worker)
) strict, without rowid;
create index worker_days_of on worker_days (worker, day);
create table agent_hours (
	instance integer not null,
	hour integer not null,
	agent integer not null,
	accepted integer not null default 0,
	accepted_work_high integer not null default 0,
	accepted_work_low integer not null default 0,
	stale integer not null default 0,
	stale_work_high integer not null default 0,
	stale_work_low integer not null default 0,
	duplicate integer not null default 0,
	duplicate_work_high integer not null default 0,
	duplicate_work_low integer not null default 0,
	above integer not null default 0,
	above_work_high integer not null default 0,
	above_work_low integer not null default 0,
	other integer not null default 0,
	other_work_high integer not null default 0,
	other_work_low integer not null default 0,
	repeated integer not null default 0,
	repeated_work_high integer not null default 0,
	repeated_work_low integer not null default 0,
	first_share integer not null default 0,
	last_share integer not null default 0,
	last_accepted integer not null default 0,
	best blob not null default x'00000000000000000000000000000000',
	primary key (instance, hour, agent)
) strict, without rowid;
create table agent_days (
	instance integer not null,
	day integer not null,
	agent integer not null,
	accepted integer not null default 0,
	accepted_work_high integer not null default 0,
	accepted_work_low integer not null default 0,
	stale integer not null default 0,
	stale_work_high integer not null default 0,
	stale_work_low integer not null default 0,
	duplicate integer not null default 0,
	duplicate_work_high integer not null default 0,
	duplicate_work_low integer not null default 0,
	above integer not null default 0,
	above_work_high integer not null default 0,
	above_work_low integer not null default 0,
	other integer not null default 0,
	other_work_high integer not null default 0,
	other_work_low integer not null default 0,
	repeated integer not null default 0,
	repeated_work_high integer not null default 0,
	repeated_work_low integer not null default 0,
	first_share integer not null default 0,
	last_share integer not null default 0,
	last_accepted integer not null default 0,
	best blob not null default x'00000000000000000000000000000000',
	primary key (instance, day, agent)
) strict, without rowid;

create table blocks (
	hash blob primary key check (length(hash) = 32),
	instance integer not null references instances,
	height integer not null,
	job integer not null,
	worker integer not null, -- 0: nobody's
	difficulty_high integer not null,
	difficulty_low integer not null,
	reward integer not null,
	found integer not null,
	state text not null default 'pending',
	confirmations integer not null default 0,
	changed integer not null,
	note text not null default ''
) strict;

create table block_changes (
	hash blob not null,
	at integer not null,
	state text not null,
	confirmations integer not null,
	note text not null,
	primary key (hash, at, state, confirmations)
) strict;

create table pool_minutes (
	instance integer not null references instances,
	at integer not null,
	users integer not null,
	workers integer not null,
	rate_1m_high integer not null,
	rate_1m_low integer not null,
	rate_5m_high integer not null,
	rate_5m_low integer not null,
	rate_1h_high integer not null,
	rate_1h_low integer not null,
	rate_24h_high integer not null,
	rate_24h_low integer not null,
	primary key (instance, at)
) strict;
