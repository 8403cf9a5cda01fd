#compdef ckpmsg
_arguments \
  '(-c --counter)'{-c,--counter}'[print a running count after every 100 replies]' \
  '(-h --help)'{-h,--help}'[print this list]' \
  '--json[print the reply to a command as it is]' \
  '(-l --loglevel)'{-l,--loglevel}'[print messages up to this LEVEL, 0 to 7]:LEVEL:' \
  '(-n --name)'{-n,--name}'[NAME of the instance (default ckpool, or ckproxy with -p)]:NAME:' \
  '(-p --proxy)'{-p,--proxy}'[the instance is a proxy]' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR given to ckpool as -s, or the one above it (default /run/ckpool, then /tmp)]:DIR:_files -/' \
  '(-N --sockname)'{-N,--sockname}'[which SOCKET of it\: listener, generator, stratifier, connector]:SOCKET:' \
  '(-t --timeout1)'{-t,--timeout1}'[SECONDS to wait for a reply]:SECONDS:' \
  '(-T --timeout2)'{-T,--timeout2}'[SECONDS to wait for the rest of a reply]:SECONDS:' \
  '--wide[print all of a table, however wide the terminal is]' \
  '1::word:(status ping version uptime help loglevel reload shutdown restart upgrade poolstats users workers clients getuser getworker getclient userclients workerclients ucinfo wcinfo bestshares rejects drops resetshares stratifierstats connectorstats stats accept reject reconnect reconnclient dropall dropclient message messageclient messageuser blocks nodes update getbase getbest getlast checkaddr submitblock proxyinfo getproxy setproxy)'
