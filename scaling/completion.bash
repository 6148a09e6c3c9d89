# Completion of `scaling` for bash: source <(scaling completion bash)
_scaling() {
  local line=${COMP_LINE:0:COMP_POINT} keys values head=
  local word=${line##*[[:space:]]} flags='--help --version --cfg -m'
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "@VERBS@ --help --version" -- "$word")
    return
  fi
  case ${COMP_WORDS[1]} in
    completion) mapfile -t COMPREPLY < <(compgen -W bash -- "$word"); return ;;
    @CASES@
    *) return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
  elif [[ $word != *=* ]]; then
    mapfile -t COMPREPLY < <(compgen -S = -W "$keys" -- "$word")
    compopt -o nospace 2> /dev/null
  else
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
    COMPREPLY=("${COMPREPLY[@]#*=}")
    if ((${#COMPREPLY[@]} == 0)); then
      mapfile -t COMPREPLY < <(compgen -f -- "${word#*=}")
      compopt -o filenames 2> /dev/null
    fi
    # bash replaces what stands behind the "=" alone, unless told that it parts no words
    [[ $COMP_WORDBREAKS == *=* ]] || head=${word%%=*}=
    COMPREPLY=("${COMPREPLY[@]/#/$head}")
  fi
}
complete -F _scaling scaling
