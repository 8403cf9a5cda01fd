-- What a database of the reference has of its users.
create table version (vlock int, version varchar(256));
create table users (userid bigint, username varchar(256), status varchar(256) default '' not null, passwordhash varchar(256) not null, salt varchar(256) default '' not null,
	userdata text default '' not null, createdate timestamptz default '2017-06-16 06:00:00+00', expirydate timestamptz default '6666-06-06 06:06:06+00');
create table workers (workerid bigint, userid bigint, workername varchar(256), createdate timestamptz, expirydate timestamptz);
create table workinfo (workinfoid bigint, bits varchar(64), createdate timestamptz, expirydate timestamptz);
create table blocks (height int, blockhash varchar(256), workinfoid bigint, userid bigint, workername varchar(256), reward bigint, confirmed varchar(1), info varchar(64),
	createdate timestamptz, expirydate timestamptz);
create table poolstats (poolinstance varchar(256), users int, workers int, hashrate float8, hashrate5m float8, hashrate1hr float8, hashrate24hr float8, createdate timestamptz);
create table markersummary (x int); create table shares (x int); create table paymentaddresses (x int); create table payments (x int);
create table payouts (x int); create table miningpayouts (x int); create table useratts (userid bigint, attname varchar(64), createdate timestamptz, expirydate timestamptz); create table optioncontrol (x int);
insert into version values (1, '1.0.8');
insert into users (userid, username, passwordhash, salt, userdata) values
	(1, 'alice', '9488aea815cf5fd5835e8a2c7386579d3a503c1c6ae00e4c41e06479c2ac1f1e', '00112233445566778899aabbccddeeff', ''),
	(2, 'bob', 'f0e8a676aa21bc21e252f2fe34bc7bdc45f596e9ee873af90c5f4a2d49877314', '', 'totpauth=000102030405060708ff');
insert into paymentaddresses values (1), (2);
