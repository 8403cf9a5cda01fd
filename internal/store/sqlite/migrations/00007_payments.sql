-- +goose Up
-- What is paid: each transaction of a run with its states, the bytes that were signed
-- for it, and what they spend. Whoever changes a payment has the row of payment_head.
create table payment_head (
	one integer primary key default 1 check (one = 1),
	cursor text not null default '' -- block from which the wallet's spends are compared
) strict;
insert into payment_head default values;

create table payment_runs (
	run integer primary key,
	at integer not null,
	by text not null,
	token blob not null unique
) strict;

create table payments (
	id integer primary key,
	run integer not null references payment_runs,
	serial integer not null default 0, -- how often it was changed
	token blob not null, -- of the last change
	at integer not null, -- and its time
	state text not null check (state in ('planned', 'exported', 'signed', 'unknown', 'broadcast', 'confirmed', 'cancelled')),
	by text not null,
	reason text not null default '',
	payees_pay integer not null,
	replaces integer not null default 0,
	psbt text not null default '',
	block_txid text not null default '', -- empty: it is in no block
	block_hash text not null default '',
	block_height integer not null default 0,
	confirmations integer not null default 0,
	booked text not null default '',
	bookings integer not null default 0
) strict;
create index payments_state on payments (state, confirmations);

create table payment_outputs (
	payment integer not null references payments,
	number integer not null,
	account integer not null references accounts,
	name text not null,
	address text not null,
	script blob not null,
	debit integer not null check (debit > 0),
	amount integer not null check (amount > 0),
	primary key (payment, number)
) strict, without rowid;

-- The exact bytes that may be in the network.
create table payment_versions (
	payment integer not null references payments,
	number integer not null, -- from 1
	txid text not null unique,
	raw blob not null,
	fee integer not null check (fee >= 0),
	size integer not null,
	at integer not null,
	primary key (payment, number)
) strict;

create table payment_amounts (
	payment integer not null,
	version integer not null,
	number integer not null, -- of the output
	amount integer not null,
	primary key (payment, version, number)
) strict, without rowid;

create table payment_inputs (
	payment integer not null references payments,
	version integer not null, -- 0: of the payment as it was changed last
	number integer not null,
	txid text not null,
	vout integer not null,
	value integer not null,
	script blob not null,
	primary key (payment, version, number)
) strict, without rowid;
create index payment_inputs_of on payment_inputs (txid, vout);

-- Spends of the wallet that are no payments, and that a person booked.
create table payment_strangers (
	txid text primary key,
	at integer not null,
	by text not null
) strict, without rowid;

-- +goose StatementBegin
create trigger payment_versions_update before update on payment_versions begin
	select raise(abort, 'table payment_versions is only appended to');
end;
-- +goose StatementEnd

-- +goose StatementBegin
create trigger payment_versions_delete before delete on payment_versions begin
	select raise(abort, 'table payment_versions is only appended to');
end;
-- +goose StatementEnd

-- +goose StatementBegin
create trigger payment_amounts_update before update on payment_amounts begin
	select raise(abort, 'table payment_amounts is only appended to');
end;
-- +goose StatementEnd

-- +goose StatementBegin
create trigger payment_amounts_delete before delete on payment_amounts begin
	select raise(abort, 'table payment_amounts is only appended to');
end;
-- +goose StatementEnd

-- +goose StatementBegin
create trigger payment_outputs_update before update on payment_outputs begin
	select raise(abort, 'table payment_outputs is only appended to');
end;
-- +goose StatementEnd

-- +goose StatementBegin
create trigger payment_outputs_delete before delete on payment_outputs begin
	select raise(abort, 'table payment_outputs is only appended to');
end;
-- +goose StatementEnd
