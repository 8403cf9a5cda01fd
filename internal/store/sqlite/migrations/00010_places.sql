-- +goose Up
-- Where the shares of a job stand in the order of shares: also of one whose record was
-- lost, which is not in table jobs.
create table places (
	instance integer not null references instances,
	job integer not null,
	height integer not null,
	after integer not null, -- the last transaction of the ledger when it came: rewards until then are without it
	least integer not null default 0, -- times of its shares' headers, if its record was not there when they came; else 0
	most integer not null default 0,
	primary key (instance, job)
) strict, without rowid;
create index places_at on places (height);
insert into places (instance, job, height, after, least, most) select instance, id, height, 0, 0, 0 from jobs;
insert into places (instance, job, height, after, least, most)
	select s.instance, s.job, coalesce((select max(j.height) from jobs j where j.instance = s.instance), 0), (select last from ledger_head), 1, 4294967295
	from (select instance, job from job_sums where accepted > 0 union select instance, job from pending where accepted > 0) s
	where not exists (select 1 from jobs j where j.instance = s.instance and j.id = s.job);
