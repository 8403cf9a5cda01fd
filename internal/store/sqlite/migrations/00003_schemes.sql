-- +goose Up
-- Money is made of sums: shares of different schemes are never summed together.
alter table pending add column scheme integer not null default 0;
alter table job_sums add column scheme integer not null default 0;
