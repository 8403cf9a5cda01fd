#compdef ckbench
_arguments \
  '1::word:(run fakenode --version shares mine idle notify storm table hostile soak jobs upgrade mob bare)'
