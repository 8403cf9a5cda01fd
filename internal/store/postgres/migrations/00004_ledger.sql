-- +goose Up
-- What is whose, in satoshis. A transaction is its entries, which sum to zero; they are
-- written first and closed by the row in table ledger. Nothing is changed afterwards.
create table ledger_head (
	one smallint primary key default 1 check (one = 1),
	last bigint not null default 0 -- number of the last transaction
);
insert into ledger_head default values;

create table ledger (
	number bigint primary key,
	at bigint not null,
	kind text not null,
	reference text not null,
	note text not null,
	unique (kind, reference)
);

create table ledger_entries (
	number bigint not null references ledger deferrable initially deferred,
	book text not null check (book in ('immature', 'balance', 'fee immature', 'fee', 'network fee', 'held', 'paying', 'chain')),
	account bigint not null default 0, -- 0: the pool's
	amount bigint not null check (amount between -2100000000000000 and 2100000000000000),
	check ((account > 0) = (book in ('immature', 'balance'))),
	primary key (number, book, account)
);
create index on ledger_entries (account, book);

create table settings (
	number bigint primary key,
	name text not null,
	account bigint not null default 0, -- 0: all
	value text not null,
	since bigint not null, -- time from which it holds
	height bigint not null, -- and height
	at bigint not null,
	by text not null
);
create index on settings (name, account);

create table audit (
	number bigint primary key,
	at bigint not null,
	by text not null,
	what text not null,
	subject text not null,
	before text not null,
	after text not null
);

-- +goose StatementBegin
create function only_grows() returns trigger language plpgsql as $$
begin
	raise exception 'table % is only appended to', tg_table_name;
end $$;
-- +goose StatementEnd
-- +goose StatementBegin
create function ledger_entry() returns trigger language plpgsql as $$
begin
	if exists (select from ledger where number = new.number) then
		raise exception 'ledger transaction % is closed', new.number;
	end if;
	if new.account > 0 and not exists (select from accounts where id = new.account) then
		raise exception 'ledger entry of account %, which does not exist', new.account;
	end if;
	return new;
end $$;
-- +goose StatementEnd
-- +goose StatementBegin
create function ledger_transaction() returns trigger language plpgsql as $$
declare total numeric;
begin
	select sum(amount) into total from ledger_entries where number = new.number;
	if total is null or total <> 0 then
		raise exception 'ledger transaction % sums to %, not to 0', new.number, total;
	end if;
	if new.number <> (select coalesce(max(number), 0) + 1 from ledger) then
		raise exception 'ledger transaction % is not the next one', new.number;
	end if;
	return new;
end $$;
-- +goose StatementEnd
create trigger entry before insert on ledger_entries for each row execute function ledger_entry();
create trigger closed before insert on ledger for each row execute function ledger_transaction();
create trigger only_grows before update or delete or truncate on ledger for each statement execute function only_grows();
create trigger only_grows before update or delete or truncate on ledger_entries for each statement execute function only_grows();
create trigger only_grows before update or delete or truncate on settings for each statement execute function only_grows();
create trigger only_grows before update or delete or truncate on audit for each statement execute function only_grows();
