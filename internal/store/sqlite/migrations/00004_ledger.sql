-- +goose Up
-- What is whose, in satoshis. A transaction is its entries, which sum to zero; they are
-- written first and closed by the row in table ledger. Nothing is changed afterwards.
create table ledger_head (
	one integer primary key default 1 check (one = 1),
	last integer not null default 0 -- number of the last transaction
) strict;
insert into ledger_head default values;

create table ledger (
	number integer primary key,
	at integer not null,
	kind text not null,
	reference text not null,
	note text not null,
	unique (kind, reference)
) strict;

create table ledger_entries (
	number integer not null references ledger deferrable initially deferred,
	book text not null check (book in ('immature', 'balance', 'fee immature', 'fee', 'network fee', 'held', 'paying', 'chain')),
	account integer not null default 0, -- 0: the pool's
	amount integer not null check (amount between -2100000000000000 and 2100000000000000),
	check ((account > 0) = (book in ('immature', 'balance'))),
	primary key (number, book, account)
) strict, without rowid;
create index ledger_entries_of on ledger_entries (account, book);

create table settings (
	number integer primary key,
	name text not null,
	account integer not null default 0, -- 0: all
	value text not null,
	since integer not null, -- time from which it holds
	height integer not null, -- and height
	at integer not null,
	by text not null
) strict;
create index settings_of on settings (name, account);

create table audit (
	number integer primary key,
	at integer not null,
	by text not null,
	what text not null,
	subject text not null,
	before text not null,
	after text not null
) strict;

-- +goose StatementBegin
create trigger ledger_entry before insert on ledger_entries begin
	select raise(abort, 'ledger transaction is closed') where exists (select 1 from ledger where number = new.number);
	select raise(abort, 'ledger entry of an account that does not exist') where new.account > 0 and not exists (select 1 from accounts where id = new.account);
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger ledger_transaction before insert on ledger begin
	select raise(abort, 'ledger transaction does not sum to 0') where coalesce((select sum(amount) from ledger_entries where number = new.number), 1) <> 0;
	select raise(abort, 'ledger transaction is not the next one') where new.number <> (select coalesce(max(number), 0) + 1 from ledger);
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger ledger_update before update on ledger begin
	select raise(abort, 'table ledger is only appended to');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger ledger_delete before delete on ledger begin
	select raise(abort, 'table ledger is only appended to');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger ledger_entries_update before update on ledger_entries begin
	select raise(abort, 'table ledger_entries is only appended to');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger ledger_entries_delete before delete on ledger_entries begin
	select raise(abort, 'table ledger_entries is only appended to');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger settings_update before update on settings begin
	select raise(abort, 'table settings is only appended to');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger settings_delete before delete on settings begin
	select raise(abort, 'table settings is only appended to');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger audit_update before update on audit begin
	select raise(abort, 'table audit is only appended to');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger audit_delete before delete on audit begin
	select raise(abort, 'table audit is only appended to');
end;
-- +goose StatementEnd
