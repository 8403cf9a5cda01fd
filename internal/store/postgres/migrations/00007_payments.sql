-- +goose Up
-- What is paid: each transaction of a run with its states, the bytes that were signed
-- for it, and what they spend. Whoever changes a payment has the row of payment_head.
create table payment_head (
	one smallint primary key default 1 check (one = 1),
	cursor text not null default '' -- block from which the wallet's spends are compared
);
insert into payment_head default values;

create table payment_runs (
	run bigint primary key,
	at bigint not null,
	by text not null,
	token bytea not null unique
);

create table payments (
	id bigint primary key,
	run bigint not null references payment_runs,
	serial bigint not null default 0, -- how often it was changed
	token bytea not null, -- of the last change
	at bigint not null, -- and its time
	state text not null check (state in ('planned', 'exported', 'signed', 'unknown', 'broadcast', 'confirmed', 'cancelled')),
	by text not null,
	reason text not null default '',
	payees_pay bigint not null,
	replaces bigint not null default 0,
	psbt text not null default '',
	block_txid text not null default '', -- empty: it is in no block
	block_hash text not null default '',
	block_height bigint not null default 0,
	confirmations bigint not null default 0,
	booked text not null default '',
	bookings bigint not null default 0
);
create index on payments (state, confirmations);

create table payment_outputs (
	payment bigint not null references payments,
	number bigint not null,
	account bigint not null references accounts,
	name text not null,
	address text not null,
	script bytea not null,
	debit bigint not null check (debit > 0),
	amount bigint not null check (amount > 0),
	primary key (payment, number)
);

-- The exact bytes that may be in the network.
create table payment_versions (
	payment bigint not null references payments,
	number bigint not null, -- from 1
	txid text not null unique,
	raw bytea not null,
	fee bigint not null check (fee >= 0),
	size bigint not null,
	at bigint not null,
	primary key (payment, number)
);

create table payment_amounts (
	payment bigint not null,
	version bigint not null,
	number bigint not null, -- of the output
	amount bigint not null,
	primary key (payment, version, number)
);

create table payment_inputs (
	payment bigint not null references payments,
	version bigint not null, -- 0: of the payment as it was changed last
	number bigint not null,
	txid text not null,
	vout bigint not null,
	value bigint not null,
	script bytea not null,
	primary key (payment, version, number)
);
create index on payment_inputs (txid, vout);

-- Spends of the wallet that are no payments, and that a person booked.
create table payment_strangers (
	txid text primary key,
	at bigint not null,
	by text not null
);
create trigger only_grows before update or delete or truncate on payment_versions for each statement execute function only_grows();
create trigger only_grows before update or delete or truncate on payment_amounts for each statement execute function only_grows();
create trigger only_grows before update or delete or truncate on payment_outputs for each statement execute function only_grows();
