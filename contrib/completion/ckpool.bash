# bash completion of ckpool
_ckpool() {
	local word=${COMP_WORDS[COMP_CWORD]}
	case ${COMP_WORDS[COMP_CWORD-1]} in
	-c|--config) COMPREPLY=($(compgen -f -- "$word")); return ;;
	-s|--sockdir|-S|--ckdb-sockdir) COMPREPLY=($(compgen -d -- "$word")); return ;;
	-g|--group) COMPREPLY=($(compgen -g -- "$word")); return ;;
	-n|--name|-d|--ckdb-name|-l|--loglevel) COMPREPLY=($(true -- "$word")); return ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "-c --config -B --btcsolo -p --proxy -u --userproxy -P --passthrough -N --node -R --redirector -t --trusted --check -D --daemonise -n --name --ignore-unknown -H --handover -k --killold -s --sockdir -g --group -d --ckdb-name -S --ckdb-sockdir -A --standalone -l --loglevel -L --log-shares -q --quiet -h --help --version" -- "$word"))
	else
		COMPREPLY=($(compgen -W "init notify-test" -- "$word"))
	fi
}
complete -F _ckpool ckpool
