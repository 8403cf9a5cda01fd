-- +goose Up
-- The chain as the node has it that ckdb follows, its newest blocks, and the blocks that
-- pay the pool. What pools tell of their blocks is in table blocks.
create table chain_head (
	one integer primary key default 1 check (one = 1),
	start integer not null default 1125899906842624 -- height of the first job of all pools; 2⁵⁰: none was told yet
) strict;
insert into chain_head default values;

create table chain (
	height integer primary key,
	hash blob not null
) strict;

-- Scripts of the pool's outputs, and of which jobs they were looked for.
create table chain_scripts (
	script blob primary key
) strict;
create table chain_jobs (
	instance integer primary key references instances,
	epoch integer not null,
	number integer not null
) strict;

create table chain_blocks (
	hash blob primary key check (length(hash) = 32),
	height integer not null,
	told integer not null, -- by a pool, or booked by a person
	found integer not null, -- time of the pool that told it, or when it was seen
	state text not null default 'new' check (state in ('new', 'confirmed', 'matured', 'orphaned')),
	coinbase blob not null, -- empty: not seen in the chain yet
	ntime integer not null default 0, -- of its header
	value integer not null default 0, -- satoshis of the pool's own outputs
	held integer not null default 0, -- when its money was held, 0: it was not
	passed integer not null default 0, -- when a person let others be rewarded before it, 0: nobody did
	rewarded integer not null default 0, -- when
	posted text not null default '' check (posted in ('', 'held', 'reward', 'matured')), -- what is in the ledger
	reversals integer not null default 0, -- how often that was taken back
	parameters text not null default '' -- of its reward
) strict;
create index chain_blocks_at on chain_blocks (height);

create table alarms (
	subject text not null,
	what text not null,
	at integer not null,
	text text not null,
	ended integer not null default 0,
	primary key (subject, what)
) strict;

create index jobs_at on jobs (height);
create index jobs_in_order on jobs (instance, epoch, number);
