#compdef notifier
_arguments \
  '(-n --name)'{-n,--name}'[NAME of the instance; ckpool without it]:NAME:' \
  '(-s --sockdir)'{-s,--sockdir}'[DIR that holds the instance'\''s socket directory; without it /run/ckpool, then /tmp]:DIR:_files -/' \
  '(-h --help)'{-h,--help}'[print this]' \
  '--version[print what this program was built from]' \
  '1::word:()'
