-- +goose Up
-- Shares of a job that came after a reward which was made with the others of it: rewards up
-- to the transaction of the ledger that was the last one then are without them.
create table late_shares (
	ntime integer not null,
	instance integer not null,
	job integer not null,
	worker integer not null,
	after integer not null,
	hash blob not null,
	credit_high integer not null,
	credit_low integer not null,
	primary key (ntime, hash)
) strict, without rowid;
create index late_shares_of on late_shares (instance, job);

-- How many batches of an instance had shares of heights that nothing more was to come of.
alter table instances add column late integer not null default 0;
