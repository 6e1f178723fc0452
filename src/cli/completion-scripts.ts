/** Completion for bash, zsh and fish, written from the {@link CommandModel}s. */
import { type CommandModel, type FlagModel, nextWords, type ValueKind } from './completion-model.ts';

export type Shell = 'bash' | 'zsh' | 'fish';
export const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish'];

export function completionScript(shell: Shell, model: readonly CommandModel[]): string {
  if (shell === 'bash') return bashScript(model);
  return shell === 'zsh' ? zshScript(model) : fishScript(model);
}

/** Ends what stands in a shell's single quotes and begins it anew around a quote. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Shell words that print what may stand there, one a line; empty for files and anything. */
function printing(value: ValueKind): string {
  if (value.kind === 'choice') return `printf '%s\\n' ${value.values.map(quoted).join(' ')}`;
  if (value.kind === 'names') return `homeward completion names ${value.of} --timeout 2s 2>/dev/null`;
  return '';
}

/** Which words are a command or a topic so far: what the scripts recognise a command line by. */
function knownWords(model: readonly CommandModel[]): string[] {
  return model.map(({ words }) => words);
}

/* bash: one function; the command is found by walking the words. */
function bashScript(model: readonly CommandModel[]): string {
  const known = knownWords(model).map(quoted).join('|');
  const values = model.flatMap((command) =>
    command.flags.flatMap((flag) =>
      flag.value === null
        ? []
        : [`    ${quoted(`${command.words}:${flag.flag}`)}) ${bashValue(flag.value)} return ;;`],
    ),
  );
  const commands = [{ words: '', flags: [], argument: null, summary: '' }, ...model].map((command) => {
    const words = nextWords(model, command.words).map(({ word }) => word);
    const flags = command.flags.map(({ flag }) => flag);
    const argument = command.argument === null ? '' : ` ${bashValue(command.argument)}`;
    return `    ${quoted(command.words)}) words=${quoted([...words, ...flags].join(' '))};${argument} ;;`.replace(
      /; ;;$/,
      ' ;;',
    );
  });
  return `# bash completion for homeward; made by "homeward completion bash".
_homeward() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command='' words='' next i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="\${command:+$command }\${COMP_WORDS[i]}"
    case "$next" in
      ${known}) command="$next" ;;
    esac
  done
  case "$command:$previous" in
${values.join('\n')}
  esac
  case "$command" in
${commands.join('\n')}
  esac
  COMPREPLY+=($(compgen -W "$words" -- "$current"))
}
complete -F _homeward homeward
`;
}

function bashValue(value: ValueKind): string {
  if (value.kind === 'file') return 'COMPREPLY=($(compgen -f -- "$current"));';
  const print = printing(value);
  return print === '' ? '' : `[[ $current == -* ]] || COMPREPLY=($(compgen -W "$(${print})" -- "$current"));`;
}

/* zsh: the same walk, with descriptions. */
function zshScript(model: readonly CommandModel[]): string {
  const known = knownWords(model).map(quoted).join('|');
  const described = (entries: readonly { word: string; summary: string }[]): string =>
    entries.map(({ word, summary }) => quoted(`${word.replaceAll(':', '\\:')}:${summary}`)).join(' ');
  const values = model.flatMap((command) =>
    command.flags.flatMap((flag) =>
      flag.value === null
        ? []
        : [`    ${quoted(`${command.words}:${flag.flag}`)}) ${zshValue(flag.value)} return ;;`],
    ),
  );
  const commands = [
    { words: '', flags: [] as readonly FlagModel[], argument: null, summary: '' },
    ...model,
  ].map((command) => {
    const words = nextWords(model, command.words);
    const flags = command.flags.map(({ flag, summary }) => ({ word: flag, summary }));
    const argument = command.argument === null ? '' : ` ${zshValue(command.argument)}`;
    return `    ${quoted(command.words)}) entries=(${described([...words, ...flags])});${argument} ;;`;
  });
  return `#compdef homeward
# zsh completion for homeward; made by "homeward completion zsh".
_homeward() {
  local command='' next i
  local -a entries
  for ((i = 2; i < CURRENT; i++)); do
    next="\${command:+$command }\${words[i]}"
    case "$next" in
      ${known}) command="$next" ;;
    esac
  done
  case "$command:\${words[CURRENT-1]}" in
${values.join('\n')}
  esac
  case "$command" in
${commands.join('\n')}
  esac
  _describe homeward entries
}
if [ "$funcstack[1]" = _homeward ]; then _homeward "$@"; else compdef _homeward homeward; fi
`;
}

function zshValue(value: ValueKind): string {
  if (value.kind === 'file') return '_files;';
  const print = printing(value);
  return print === '' ? '' : `compadd -- \${(f)"$(${print})"};`;
}

/* fish: one line for each thing, with a condition. */
function fishScript(model: readonly CommandModel[]): string {
  const known = knownWords(model).map(quoted).join(' ');
  const lines = [
    { words: '', flags: [] as readonly FlagModel[], argument: null, summary: '' },
    ...model,
  ].flatMap((command) => {
    const at = `complete -c homeward -n ${quoted(`__homeward_at "${command.words}"`)}`;
    return [
      ...nextWords(model, command.words).map(
        ({ word, summary }) => `${at} -f -a ${quoted(word)} -d ${quoted(summary)}`,
      ),
      ...command.flags.map(({ flag, summary, value }) => {
        const name = `-l ${flag.slice(2)} -d ${quoted(summary)}`;
        return value === null ? `${at} ${name}` : `${at} -r ${name}${fishValue(value)}`;
      }),
      ...(command.argument === null ? [] : [`${at}${fishValue(command.argument)}`]),
    ];
  });
  return `# fish completion for homeward; made by "homeward completion fish".
function __homeward_at
  set -l command ''
  for word in (commandline -opc)[2..]
    set -l next (string trim -- "$command $word")
    if contains -- "$next" ${known}
      set command $next
    end
  end
  test "$command" = "$argv[1]"
end
complete -c homeward -f
${lines.join('\n')}
`;
}

function fishValue(value: ValueKind): string {
  if (value.kind === 'file') return ' -F';
  const print = printing(value);
  return print === '' ? ' -f' : ` -f -a ${quoted(`(${print})`)}`;
}
