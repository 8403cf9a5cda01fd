#compdef ckdb
_arguments \
  '--db[DATABASE\: postgres\://USER\:PASSWORD@HOST/NAME, or a directory for one in SQLite; without it $CKDB_DB, or the directory ckdb]:DATABASE:' \
  '(-d --dbname)'{-d,--dbname}'[NAME of a PostgreSQL database on this machine, ckdb without it]:NAME:' \
  '(-u --dbuser)'{-u,--dbuser}'[USER of it, postgres without it]:USER:' \
  '(-p --dbpass)'{-p,--dbpass}'[PASSWORD of it, which others can see in the list of processes\: better in ~/.pgpass or $PGPASSWORD]:PASSWORD:' \
  '(-r --logdir)'{-r,--logdir}'[DIR of the pool'\''s logs, in which its journal is; logs without it]:DIR:_files -/' \
  '(-j --journal)'{-j,--journal}'[DIR of a journal, instead; may be given for each of several pools]:DIR:_files -/' \
  '--nats[URL of the NATS servers that other sites send by, tls\://HOST, several with commas between; without it $CKDB_NATS]:URL:' \
  '--nats-creds[FILE with the credentials for them]:FILE:_files' \
  '--forward[send the journals to the ckdb with the database, store nothing here]' \
  '--replicas[NUMBER of NATS servers that have what is under way, for --forward; 1 without it]:NUMBER:' \
  '--node[URL of the node'\''s RPC, http\://USER\:PASSWORD@HOST\:PORT; without it $CKDB_NODE, whose password others do not see in the list of processes]:URL:' \
  '--cookie[FILE of the node'\''s cookie, or its directory, instead of user and password]:FILE:_files' \
  '--wallet[NAME of the node'\''s wallet that has the pool'\''s coins; without it the only one that is loaded]:NAME:' \
  '--http[ADDRESS, HOST\:PORT, at which users see their accounts in a browser; without it nowhere]:ADDRESS:' \
  '--http-cert[FILE with a TLS certificate for that; it is read again when it changes]:FILE:_files' \
  '--http-key[FILE with its key]:FILE:_files' \
  '--http-base[PATH before those of all pages, such as /accounts, behind a reverse proxy that others share]:PATH:' \
  '--http-proxy[NETWORK of reverse proxies, such as 127.0.0.0/8, whose word on readers'\'' addresses is taken; may be given for each]:NETWORK:' \
  '--http-name[HOST that browsers call that, such as accounts.example.org, beside those of its certificate\: owners of addresses log in there, and nowhere else; may be given for each]:HOST:' \
  '--metrics[ADDRESS, HOST\:PORT, at which Prometheus reads /metrics, without a login; without it nowhere]:ADDRESS:' \
  '--notify[FILE whose key "notify" says who is told of payouts, rewards, and what is wrong; that of the pool'\''s configuration will do]:FILE:_files' \
  '--keep[DAYS that each share is kept, 30 without it, 0 for ever; sums are kept for ever]:DAYS:' \
  '(-n --name)'{-n,--name}'[NAME of the instance, ckdb without it\: of its log and socket directory]:NAME:' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR of its control socket and pid file; without it /tmp/NAME]:DIR:_files -/' \
  '(-g --group)'{-g,--group}'[GROUP that owns the control socket and its directory]:GROUP:_groups' \
  '(-k --killold)'{-k,--killold}'[end the running instance of the same name first]' \
  '(-l --loglevel)'{-l,--loglevel}'[log up to this LEVEL\: 0 emergencies, 3 errors, 4 warnings, 5 notices, 6 information, 7 all; 5 without it]:LEVEL:' \
  '(-R --ckdb-logdir)'{-R,--ckdb-logdir}'[DIR of its own log; without it that of the pool'\''s logs]:DIR:_files -/' \
  '--json[print the answer to a command for programs]' \
  '--wide[print all of a table, however wide the terminal is]' \
  '--from[WHEN a setting begins to hold, for set and user fee\: a height, or a time as 2026-01-31 or "2026-01-31 12\:00"; without it now]:WHEN:' \
  '--user[NAME of the account that a setting is of, for set; without it of all]:NAME:' \
  '--signature[SIGNATURE over the text of "user prove", by BIP322 or signmessage; ADDRESS=SIGNATURE where another address than the account'\''s signed; may be given for each]:SIGNATURE:' \
  '--yes[do not ask before money moves, for scripts]' \
  '--fee-rate[RATE in satoshis per virtual byte that payouts pay to the network; without it the node'\''s estimate]:RATE:' \
  '--pg[URL of a database of the reference, postgres\://USER\:PASSWORD@HOST/NAME, that import reads]:URL:' \
  '--logs[PREFIX of the request logs that import reads, where there are several, such as ckdb]:PREFIX:' \
  '--as[NAME that the imported pool gets; without it what the names of the logs or the database begin with]:NAME:' \
  '--network[NETWORK of the imported pool\: main, test, signet or regtest; main without it]:NETWORK:' \
  '(-h --help)'{-h,--help}'[print this]' \
  '--version[print what this program was built from]' \
  '1::word:(status users user workers shifts blocks luck rewards explain export verify balances correct payout set audit block alarm retire check import journal)'
