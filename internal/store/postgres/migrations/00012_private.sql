-- +goose Up
-- Accounts that are named to nobody, since when; 0: not.
alter table accounts add column private bigint not null default 0;
