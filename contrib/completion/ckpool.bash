# bash completion of ckpool
_ckpool() {
	local word=${COMP_WORDS[COMP_CWORD]}
	case ${COMP_WORDS[COMP_CWORD-1]} in
	-c|--config) COMPREPLY=($(compgen -f -- "$word")); return ;;
	-S|--ckdb-sockdir|-s|--sockdir) COMPREPLY=($(compgen -d -- "$word")); return ;;
	-g|--group) COMPREPLY=($(compgen -g -- "$word")); return ;;
	-d|--ckdb-name|-l|--loglevel|-n|--name) COMPREPLY=($(true -- "$word")); return ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "-A --standalone -B --btcsolo -c --config -D --daemonise -d --ckdb-name -g --group -H --handover -h --help -k --killold -L --log-shares -l --loglevel -N --node -n --name -P --passthrough -p --proxy -q --quiet -R --redirector -S --ckdb-sockdir -s --sockdir -t --trusted -u --userproxy --check" -- "$word"))
	else
		COMPREPLY=($(compgen -W "" -- "$word"))
	fi
}
complete -F _ckpool ckpool
