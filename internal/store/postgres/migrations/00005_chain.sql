-- +goose Up
-- The chain as the node has it that ckdb follows, its newest blocks, and the blocks that
-- pay the pool. What pools tell of their blocks is in table blocks.
create table chain_head (
	one smallint primary key default 1 check (one = 1),
	start bigint not null default 1125899906842624 -- height of the first job of all pools; 2⁵⁰: none was told yet
);
insert into chain_head default values;

create table chain (
	height bigint primary key,
	hash bytea not null
);

-- Scripts of the pool's outputs, and of which jobs they were looked for.
create table chain_scripts (
	script bytea primary key
);
create table chain_jobs (
	instance bigint primary key references instances,
	epoch bigint not null,
	number bigint not null
);

create table chain_blocks (
	hash bytea primary key check (length(hash) = 32),
	height bigint not null,
	told smallint not null, -- by a pool, or booked by a person
	found bigint not null, -- time of the pool that told it, or when it was seen
	state text not null default 'new' check (state in ('new', 'confirmed', 'matured', 'orphaned')),
	coinbase bytea not null, -- empty: not seen in the chain yet
	ntime bigint not null default 0, -- of its header
	value bigint not null default 0, -- satoshis of the pool's own outputs
	held bigint not null default 0, -- when its money was held, 0: it was not
	passed bigint not null default 0, -- when a person let others be rewarded before it, 0: nobody did
	rewarded bigint not null default 0, -- when
	posted text not null default '' check (posted in ('', 'held', 'reward', 'matured')), -- what is in the ledger
	reversals bigint not null default 0, -- how often that was taken back
	parameters text not null default '' -- of its reward
);
create index on chain_blocks (height);

create table alarms (
	subject text not null,
	what text not null,
	at bigint not null,
	text text not null,
	ended bigint not null default 0,
	primary key (subject, what)
);

create index on jobs (height);
create index on jobs (instance, epoch, number);
