-- +goose Up
-- When a script was known for the pool's; 0: before this was written down.
alter table chain_scripts add column at bigint not null default 0;

-- Which outputs of the coinbase were the pool's when its value was taken, as 0,2 or none;
-- empty: by the scripts that were known when it was rewarded.
alter table chain_blocks add column outputs text not null default '';
