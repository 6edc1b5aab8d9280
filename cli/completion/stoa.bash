# Completion of stoa and stoa-todo for bash. To be sourced, or put into
# ~/.local/share/bash-completion/completions/stoa (and a link stoa-todo beside it).

# _stoa_task WORD PREVIOUS PROGRAM...: what may stand after `PROGRAM...`, in COMPREPLY.
_stoa_task()
{
    local cur=$1 prev=$2
    shift 2
    local -a program=("$@")
    local kinds=commands words=

    case $prev in
        addto | listfile | lf | move | mv) kinds=files ;;
        -d) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -l)
            mapfile -t COMPREPLY < <(compgen -W "$("${program[@]}" --complete=files 2>/dev/null | sed 's/\.txt$//')" -- "$cur")
            return ;;
        help | command | "${program[-1]}" | -*) ;;
        *) kinds= ;;
    esac
    case $cur in
        -*) words="-@ -+ -P -a -A -c -d -f -h -l -n -N -p -t -T -v -V -x --json --help"; kinds= ;;
        +*) kinds=projects ;;
        @*) kinds=contexts ;;
    esac
    [[ -n $kinds ]] && words+=" $("${program[@]}" --complete=$kinds 2>/dev/null)"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

_stoa()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

    COMPREPLY=()
    if [[ ${COMP_WORDS[0]##*/} == stoa-todo ]]; then
        _stoa_task "$cur" "$prev" "${COMP_WORDS[0]}"
    elif [[ $COMP_CWORD -gt 1 && ${COMP_WORDS[1]} == task ]]; then
        _stoa_task "$cur" "$prev" "${COMP_WORDS[0]}" task
    else
        case $prev in
            -F | --file | --ca-file | --certificate-file | --key-file)
                mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "$cur")
    fi
}

complete -F _stoa stoa stoa-todo
