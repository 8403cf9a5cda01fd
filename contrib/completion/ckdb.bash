# bash completion of ckdb
_ckdb() {
	local word=${COMP_WORDS[COMP_CWORD]}
	case ${COMP_WORDS[COMP_CWORD-1]} in
	--nats-creds|--cookie|--http-cert|--http-key|--notify) COMPREPLY=($(compgen -f -- "$word")); return ;;
	-r|--logdir|-j|--journal|-s|--sockdir|-R|--ckdb-logdir) COMPREPLY=($(compgen -d -- "$word")); return ;;
	-g|--group) COMPREPLY=($(compgen -g -- "$word")); return ;;
	--db|-d|--dbname|-u|--dbuser|-p|--dbpass|--nats|--replicas|--node|--wallet|--http|--http-base|--http-proxy|--http-name|--metrics|--keep|-n|--name|-l|--loglevel|--from|--user|--signature|--fee-rate|--pg|--logs|--as|--network) COMPREPLY=($(true -- "$word")); return ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "--db -d --dbname -u --dbuser -p --dbpass -r --logdir -j --journal --nats --nats-creds --forward --replicas --node --cookie --wallet --http --http-cert --http-key --http-base --http-proxy --http-name --metrics --notify --keep -n --name -s --sockdir -g --group -k --killold -l --loglevel -R --ckdb-logdir --json --wide --from --user --signature --yes --fee-rate --pg --logs --as --network -h --help --version" -- "$word"))
	else
		COMPREPLY=($(compgen -W "status users user workers shifts blocks luck rewards explain export verify balances correct payout set audit block alarm retire check import journal" -- "$word"))
	fi
}
complete -F _ckdb ckdb
