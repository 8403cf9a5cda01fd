#compdef ckbench
_arguments \
  '1::word:(--version run run-pool run-proxy run-links orphan fakenode shares mine idle notify links storm table hostile soak jobs upgrade mob bare)'
