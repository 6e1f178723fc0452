/**
 * What the modules here need of whoever runs them: the host's own tools, and a log.
 */

/** Runs a tool (`ip`, `nft`) in our network namespace; its standard output. Rejects with the tool's own words. */
export type RunTool = (
  command: string,
  args: readonly string[],
  options?: { readonly input?: string; readonly mayFail?: boolean },
) => Promise<string>;

export type IpsecLog = (
  level: 'debug' | 'info' | 'warn' | 'error',
  fields: Readonly<Record<string, unknown>>,
  text: string,
) => void;
