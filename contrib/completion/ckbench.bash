# bash completion of ckbench
_ckbench() {
	local word=${COMP_WORDS[COMP_CWORD]}
	case ${COMP_WORDS[COMP_CWORD-1]} in
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "" -- "$word"))
	else
		COMPREPLY=($(compgen -W "--version run run-pool run-proxy run-links orphan fakenode shares mine idle notify links storm table hostile soak jobs upgrade mob bare" -- "$word"))
	fi
}
complete -F _ckbench ckbench
