-- +goose Up
-- The hour up to which an instance's work was weighed; hours since 1970.
alter table instances add column weighed integer not null default 0;
