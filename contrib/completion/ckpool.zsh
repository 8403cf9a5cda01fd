#compdef ckpool
_arguments \
  '(-A --standalone)'{-A,--standalone}'[accepted and ignored, as are -d and -S\: options of a time when ckpool needed a database]' \
  '(-B --btcsolo)'{-B,--btcsolo}'[solo mode\: the user name is an address, and who finds a block is paid by it]' \
  '(-c --config)'{-c,--config}'[configuration FILE; without it NAME.conf in the current directory]:FILE:_files' \
  '(-D --daemonise)'{-D,--daemonise}'[detach from the terminal; the exit status tells whether the instance came up]' \
  '(-d --ckdb-name)'{-d,--ckdb-name}'[ignored; the NAME of a database instance]:NAME:' \
  '(-g --group)'{-g,--group}'[GROUP that owns the control sockets and their directory]:GROUP:_groups' \
  '(-H --handover)'{-H,--handover}'[take over from the running instance of the same name, then it ends; implies -k]' \
  '(-h --help)'{-h,--help}'[print the options]' \
  '(-k --killold)'{-k,--killold}'[end the running instance of the same name first]' \
  '(-L --log-shares)'{-L,--log-shares}'[log every share]' \
  '(-l --loglevel)'{-l,--loglevel}'[log up to this LEVEL\: 0 emergencies, 3 errors, 4 warnings, 5 notices, 6 information, 7 all; without it "loglevel" of the configuration, or 5]:LEVEL:' \
  '(-N --node)'{-N,--node}'[mining node mode]' \
  '(-n --name)'{-n,--name}'[NAME of the instance\: of its configuration, log and socket directory; ckpool without it, and ckproxy, ckpassthrough, ckredirector or cknode in their modes]:NAME:' \
  '(-P --passthrough)'{-P,--passthrough}'[passthrough mode\: joins many miners into one connection to another instance]' \
  '(-p --proxy)'{-p,--proxy}'[proxy mode\: takes work from other pools; set without the option when called as ckproxy]' \
  '(-q --quiet)'{-q,--quiet}'[no status line on the terminal]' \
  '(-R --redirector)'{-R,--redirector}'[redirector mode\: passes miners on to other pools]' \
  '(-S --ckdb-sockdir)'{-S,--ckdb-sockdir}'[ignored; the DIR of a database instance]:DIR:_files -/' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR of this instance'\''s control sockets and pid file; without it /tmp/NAME]:DIR:_files -/' \
  '(-t --trusted)'{-t,--trusted}'[trusted remote mode\: a part of another pool]' \
  '(-u --userproxy)'{-u,--userproxy}'[user proxy mode\: each user mines on upstream pools of its own]' \
  '--check[say what is wrong with the configuration and exit]' \
  '1::word:()'
