/** How long something lasts, for people. */

/** `950ms`, `12s`, `4m05s`, `2h04m`, `3d02h`. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  const seconds = Math.floor(ms / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  const hours = Math.floor(seconds / 3600);
  if (hours < 48) return `${hours}h${two(Math.floor((seconds % 3600) / 60))}m`;
  return `${Math.floor(hours / 24)}d${two(hours % 24)}h`;
}
