# bash completion of notifier
_notifier() {
	local word=${COMP_WORDS[COMP_CWORD]}
	case ${COMP_WORDS[COMP_CWORD-1]} in
	-s|--sockdir) COMPREPLY=($(compgen -d -- "$word")); return ;;
	-n|--name) COMPREPLY=($(true -- "$word")); return ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "-n --name -s --sockdir -h --help --version" -- "$word"))
	else
		COMPREPLY=($(compgen -W "" -- "$word"))
	fi
}
complete -F _notifier notifier
