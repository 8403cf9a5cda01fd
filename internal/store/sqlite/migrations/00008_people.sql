-- +goose Up
-- Who may log in, with what, and where money is paid to.
alter table accounts add column role text not null default '' check (role in ('', 'admin', 'accountant', 'support', 'reader'));
alter table accounts add column secret text not null default ''; -- of one-time codes
alter table accounts add column new_secret text not null default ''; -- that no code was tried of yet
alter table accounts add column last_step integer not null default 0; -- that a code was used of
alter table accounts add column held integer not null default 0; -- since when it is not paid; 0: it is
alter table accounts add column held_reason text not null default '';

create table recovery_codes (
	account integer not null references accounts,
	digest blob not null check (length(digest) = 32),
	primary key (account, digest)
) strict, without rowid;

create table tokens (
	number integer primary key,
	account integer not null references accounts,
	digest blob not null unique check (length(digest) = 32),
	name text not null,
	scopes text not null,
	created integer not null,
	expires integer not null,
	revoked integer not null default 0 -- when; 0: not
) strict;

-- What was tried until a time.
create table tries (
	key text primary key,
	until integer not null,
	n integer not null
) strict, without rowid;
create index tries_until on tries (until);

-- Proofs that were used up.
create table proofs (
	once text primary key,
	at integer not null
) strict, without rowid;

-- Whose an address is: of one account, and of another one only by a proof.
create table address_owners (
	address text primary key,
	account integer not null references accounts,
	proved integer not null default 0, -- when; 0: not
	at integer not null
) strict, without rowid;

create table address_sets (
	number integer primary key,
	account integer not null references accounts,
	since integer not null, -- time from which it holds
	at integer not null,
	by text not null
) strict;
create index address_sets_of on address_sets (account);

create table address_parts (
	number integer not null references address_sets,
	address text not null,
	ppm integer not null check (ppm between 1 and 1000000),
	primary key (number, address)
) strict, without rowid;
