#compdef notifier
_arguments \
  '(-n --name)'{-n,--name}'[NAME of the instance (default ckpool, or ckproxy with -p)]:NAME:' \
  '(-p --proxy)'{-p,--proxy}'[the instance is a proxy]' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR given to ckpool as -s, or the one above it (default /run/ckpool, then /tmp)]:DIR:_files -/' \
  '1::word:()'
