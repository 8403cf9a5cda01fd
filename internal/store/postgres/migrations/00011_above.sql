-- +goose Up
-- What other pools said of shares that went up to them, and what they owe for these.
alter table pending
	add column accepted_above bigint not null default 0,
	add column accepted_above_work numeric(39,12) not null default 0,
	add column refused_above bigint not null default 0,
	add column refused_above_work numeric(39,12) not null default 0,
	add column unanswered bigint not null default 0,
	add column unanswered_work numeric(39,12) not null default 0;
alter table job_sums
	add column accepted_above bigint not null default 0,
	add column accepted_above_work numeric(39,12) not null default 0,
	add column refused_above bigint not null default 0,
	add column refused_above_work numeric(39,12) not null default 0,
	add column unanswered bigint not null default 0,
	add column unanswered_work numeric(39,12) not null default 0;
alter table shift_workers
	add column accepted_above bigint not null default 0,
	add column accepted_above_work numeric(39,12) not null default 0,
	add column refused_above bigint not null default 0,
	add column refused_above_work numeric(39,12) not null default 0,
	add column unanswered bigint not null default 0,
	add column unanswered_work numeric(39,12) not null default 0;
alter table worker_hours
	add column accepted_above bigint not null default 0,
	add column accepted_above_work numeric(39,12) not null default 0,
	add column refused_above bigint not null default 0,
	add column refused_above_work numeric(39,12) not null default 0,
	add column unanswered bigint not null default 0,
	add column unanswered_work numeric(39,12) not null default 0;
alter table worker_days
	add column accepted_above bigint not null default 0,
	add column accepted_above_work numeric(39,12) not null default 0,
	add column refused_above bigint not null default 0,
	add column refused_above_work numeric(39,12) not null default 0,
	add column unanswered bigint not null default 0,
	add column unanswered_work numeric(39,12) not null default 0;
alter table agent_hours
	add column accepted_above bigint not null default 0,
	add column accepted_above_work numeric(39,12) not null default 0,
	add column refused_above bigint not null default 0,
	add column refused_above_work numeric(39,12) not null default 0,
	add column unanswered bigint not null default 0,
	add column unanswered_work numeric(39,12) not null default 0;
alter table agent_days
	add column accepted_above bigint not null default 0,
	add column accepted_above_work numeric(39,12) not null default 0,
	add column refused_above bigint not null default 0,
	add column refused_above_work numeric(39,12) not null default 0,
	add column unanswered bigint not null default 0,
	add column unanswered_work numeric(39,12) not null default 0;
