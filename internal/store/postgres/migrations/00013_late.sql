-- +goose Up
-- Shares of a job that came after a reward which was made with the others of it: rewards up
-- to the transaction of the ledger that was the last one then are without them.
create table late_shares (
	ntime bigint not null,
	instance bigint not null,
	job bigint not null,
	worker bigint not null,
	after bigint not null,
	hash bytea not null,
	credit numeric(39,12) not null,
	primary key (ntime, hash)
);
create index late_shares_of on late_shares (instance, job);

-- How many batches of an instance had shares of heights that nothing more was to come of.
alter table instances add column late bigint not null default 0;
