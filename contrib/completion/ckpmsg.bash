# bash completion of ckpmsg
_ckpmsg() {
	local word=${COMP_WORDS[COMP_CWORD]}
	case ${COMP_WORDS[COMP_CWORD-1]} in
	-s|--sockdir) COMPREPLY=($(compgen -d -- "$word")); return ;;
	-n|--name|-N|--sockname|-t|--timeout1|-T|--timeout2|-l|--loglevel) COMPREPLY=($(true -- "$word")); return ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "-n --name -s --sockdir -N --sockname --json -t --timeout1 -T --timeout2 --wide -c --counter -l --loglevel -h --help --version" -- "$word"))
	else
		COMPREPLY=($(compgen -W "status top ping version uptime help loglevel reload shutdown restart upgrade poolstats users workers clients getuser getworker getclient userclients workerclients ucinfo wcinfo bestshares rejects drops resetshares stratifierstats connectorstats stats accept reject reconnect reconnclient dropall dropclient message messageclient messageuser blocks journal nodes links droplink update getbase getbest getlast checkaddr submitblock list sublist addproxy delproxy setproxy enableproxy disableproxy proxystats subproxystats proxyusers proxyinfo getproxy recruit dropproxy" -- "$word"))
	fi
}
complete -F _ckpmsg ckpmsg
