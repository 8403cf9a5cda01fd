#compdef ckpmsg
_arguments \
  '(-n --name)'{-n,--name}'[NAME of the instance; ckpool without it]:NAME:' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR given to ckpool as -s, or the one above it; without it /run/ckpool, then /tmp]:DIR:_files -/' \
  '(-N --sockname)'{-N,--sockname}'[which SOCKET of it\: listener, generator, stratifier or connector; listener without it]:SOCKET:' \
  '--json[print the reply to a command as it is]' \
  '(-t --timeout1)'{-t,--timeout1}'[SECONDS to wait for a reply, 30 without it]:SECONDS:' \
  '(-T --timeout2)'{-T,--timeout2}'[SECONDS to wait for the rest of a reply, 5 without it]:SECONDS:' \
  '--wide[print all of a table, however wide the terminal is]' \
  '(-c --counter)'{-c,--counter}'[print a running count after every 100 replies]' \
  '(-l --loglevel)'{-l,--loglevel}'[print messages up to this LEVEL, 0 to 7; 7 without it]:LEVEL:' \
  '(-h --help)'{-h,--help}'[print this]' \
  '--version[print what this program was built from]' \
  '1::word:(status top ping version uptime help loglevel reload shutdown restart upgrade poolstats users workers clients getuser getworker getclient userclients workerclients ucinfo wcinfo bestshares rejects drops resetshares stratifierstats connectorstats stats accept reject reconnect reconnclient dropall dropclient message messageclient messageuser blocks journal nodes links droplink update getbase getbest getlast checkaddr submitblock list sublist addproxy delproxy setproxy enableproxy disableproxy proxystats subproxystats proxyusers proxyinfo getproxy recruit dropproxy)'
