import { Args } from '@oclif/core';
import { HomewardCommand } from '../command.ts';
import { completionModel } from '../completion-model.ts';
import { completionScript, SHELLS, type Shell } from '../completion-scripts.ts';

export default class Completion extends HomewardCommand {
  static override summary = 'Print a script that lets a shell complete homeward commands.';
  static override description = `Names of tunnels, sites and plugins are those of the running gateway.

bash:  homeward completion bash > /etc/bash_completion.d/homeward
zsh:   homeward completion zsh > /usr/local/share/zsh/site-functions/_homeward
fish:  homeward completion fish > ~/.config/fish/completions/homeward.fish`;
  static override examples = ['source <(<%= config.bin %> completion bash)'];
  static override args = {
    shell: Args.string({ required: true, options: [...SHELLS], description: 'Which shell.' }),
  };

  async run(): Promise<{ script: string }> {
    const { args } = await this.parse(Completion);
    const script = completionScript(args.shell as Shell, completionModel(this.config));
    if (!this.jsonEnabled()) process.stdout.write(script);
    return { script };
  }
}
