/**
 * The text format of Prometheus (exposition format 0.0.4): families with HELP and TYPE, samples with labels.
 *
 * ```
 *  # HELP homeward_port_up 1 while packets may leave by the port.
 *  # TYPE homeward_port_up gauge
 *  homeward_port_up{port="paris-gre",site="paris"} 1
 * ```
 *
 * What a metric is called, is for and is told apart by stands in `catalogue.ts`; here it is only written down. A
 * sample with other labels than its metric has, or one that is there already, is a mistake of ours and throws.
 */

export interface Metric {
  /** Of a counter it ends with `_total`. */
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  /** One sentence. */
  readonly help: string;
  readonly labels: readonly string[];
}

/** The media type of what {@link Exposition} makes. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export class Exposition {
  readonly #families = new Map<Metric, Map<string, number>>();

  /** Adds one sample; the labels' values in the order of the metric's labels. */
  add(metric: Metric, value: number, ...labels: readonly string[]): void {
    if (labels.length !== metric.labels.length) {
      throw new RangeError(`${metric.name} has the labels ${metric.labels.join(', ') || 'none'}`);
    }
    let samples = this.#families.get(metric);
    if (samples === undefined) {
      samples = new Map();
      this.#families.set(metric, samples);
    }
    const pairs = metric.labels.map((name, at) => `${name}="${escapeLabel(labels[at]!)}"`);
    const key = pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
    if (samples.has(key)) throw new RangeError(`${metric.name}${key} is there twice`);
    samples.set(key, value);
  }

  /** The whole text, families in the order in which they were first added. */
  toString(): string {
    const lines: string[] = [];
    for (const [{ name, help, type }, samples] of this.#families) {
      lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`);
      for (const [labels, value] of samples) lines.push(`${name}${labels} ${formatValue(value)}`);
    }
    return `${lines.join('\n')}\n`;
  }
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

/** As Go's ParseFloat takes it, which is what reads it. */
function formatValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}
