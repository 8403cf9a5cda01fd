-- +goose Up
-- Who may log in, with what, and where money is paid to.
alter table accounts add column role text not null default '' check (role in ('', 'admin', 'accountant', 'support', 'reader'));
alter table accounts add column secret text not null default ''; -- of one-time codes
alter table accounts add column new_secret text not null default ''; -- that no code was tried of yet
alter table accounts add column last_step bigint not null default 0; -- that a code was used of
alter table accounts add column held bigint not null default 0; -- since when it is not paid; 0: it is
alter table accounts add column held_reason text not null default '';

create table recovery_codes (
	account bigint not null references accounts,
	digest bytea not null check (length(digest) = 32),
	primary key (account, digest)
);

create table tokens (
	number bigint primary key,
	account bigint not null references accounts,
	digest bytea not null unique check (length(digest) = 32),
	name text not null,
	scopes text not null,
	created bigint not null,
	expires bigint not null,
	revoked bigint not null default 0 -- when; 0: not
);

-- What was tried until a time.
create table tries (
	key text primary key,
	until bigint not null,
	n bigint not null
);
create index on tries (until);

-- Proofs that were used up.
create table proofs (
	once text primary key,
	at bigint not null
);

-- Whose an address is: of one account, and of another one only by a proof.
create table address_owners (
	address text primary key,
	account bigint not null references accounts,
	proved bigint not null default 0, -- when; 0: not
	at bigint not null
);

create table address_sets (
	number bigint primary key,
	account bigint not null references accounts,
	since bigint not null, -- time from which it holds
	at bigint not null,
	by text not null
);
create index on address_sets (account);

create table address_parts (
	number bigint not null references address_sets,
	address text not null,
	ppm bigint not null check (ppm between 1 and 1000000),
	primary key (number, address)
);
