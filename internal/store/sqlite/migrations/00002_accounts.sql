-- +goose Up
-- What an operator says of accounts and workers, and the feed of it for pools. Its
-- numbers are given under a lock that is held until the commit: they grow in the order
-- in which changes are seen.
create table feed (
	one integer primary key default 1 check (one = 1),
	uid blob not null,
	changes integer not null default 0
) strict;
insert into feed (uid) values (randomblob(16));

alter table accounts add column registered integer not null default 0; -- when; 0: by nobody
alter table accounts add column password text not null default '';
alter table accounts add column locked integer not null default 0; -- since when; 0: not
alter table accounts add column reason text not null default '';
create index accounts_registered on accounts (registered) where kind = 'user' and registered > 0;
alter table workers add column minimum text not null default ''; -- least difficulty

create table changes (
	number integer primary key,
	at integer not null,
	kind text not null,
	account text not null,
	worker text not null,
	reason text not null,
	minimum text not null
) strict;
create index changes_of on changes (kind, account, worker);
