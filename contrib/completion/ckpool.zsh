#compdef ckpool
_arguments \
  '(-c --config)'{-c,--config}'[configuration FILE; without it NAME.conf in the current directory]:FILE:_files' \
  '(-B --btcsolo)'{-B,--btcsolo}'[solo mode\: the user name is an address, and who finds a block is paid by it; "solo" in the configuration does the same]' \
  '(-p --proxy)'{-p,--proxy}'[proxy mode\: work comes from the pools in "proxy", which see all miners as one account of theirs]' \
  '(-u --userproxy)'{-u,--userproxy}'[proxy mode in which users who have accounts at these pools mine there under their own\: with the name and the password that their miners give]' \
  '(-P --passthrough)'{-P,--passthrough}'[passthrough mode\: miners here are served by the first pool of "proxy" that gives a link, where they have accounts of their own]' \
  '(-N --node)'{-N,--node}'[node mode\: a passthrough that submits blocks, found here or anywhere, to bitcoin nodes of its own]' \
  '(-R --redirector)'{-R,--redirector}'[redirector mode\: a passthrough that sends miners who have shown that they mine on to the pools of "redirecturl"]' \
  '(-t --trusted)'{-t,--trusted}'[trusted remote\: a whole pool, whose users and shares are those of the main pool, "upstream" of the configuration]' \
  '--check[say all that is wrong with the configuration, ask its nodes, or with -p, -u, -P, -N or -R its pools, with -t its main pool too, try its ports, and exit]' \
  '(-D --daemonise)'{-D,--daemonise}'[detach from the terminal; the exit status tells whether the instance came up]' \
  '(-n --name)'{-n,--name}'[NAME of the instance, ckpool without it\: of its configuration, log and socket directory]:NAME:' \
  '--ignore-unknown[start although the configuration has keys of other pools that money or difficulty depends on]' \
  '(-H --handover)'{-H,--handover}'[take over from the running instance of the same name, then it ends; implies -k]' \
  '(-k --killold)'{-k,--killold}'[end the running instance of the same name first]' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR of this instance'\''s control sockets and pid file; without it /tmp/NAME]:DIR:_files -/' \
  '(-g --group)'{-g,--group}'[GROUP that owns the control sockets and their directory]:GROUP:_groups' \
  '(-d --ckdb-name)'{-d,--ckdb-name}'[ask the ckdb of this NAME who may mine; without -d and -S the one called ckdb, if it answers at the start]:NAME:' \
  '(-S --ckdb-sockdir)'{-S,--ckdb-sockdir}'[DIR of ckdb'\''s socket; without it /run/ckpool/NAME or /tmp/NAME]:DIR:_files -/' \
  '(-A --standalone)'{-A,--standalone}'[no database is meant\: shares are only counted, ckdb is not looked for, -d, -S and "journal" have no effect]' \
  '(-l --loglevel)'{-l,--loglevel}'[log up to this LEVEL\: 0 emergencies, 3 errors, 4 warnings, 5 notices, 6 information, 7 all; without it "loglevel" of the configuration, or 5]:LEVEL:' \
  '(-L --log-shares)'{-L,--log-shares}'[log every share]' \
  '(-q --quiet)'{-q,--quiet}'[no status line on the terminal]' \
  '(-h --help)'{-h,--help}'[print this]' \
  '--version[print what this program was built from]' \
  '1::word:(init notify-test)'
