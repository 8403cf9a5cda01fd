#compdef notifier
_arguments \
  '(-n --name)'{-n,--name}'[NAME of the instance; ckpool without it]:NAME:' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR given to ckpool as -s, or the one above it; without it /run/ckpool, then /tmp]:DIR:_files -/' \
  '(-h --help)'{-h,--help}'[print this]' \
  '--version[print what this program was built from]' \
  '1::word:()'
