/** Medians and their uncertainty, for measurements on machines that also do other things. */

/** The median; NaN of nothing. Does not change `values`. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle];
  return (sorted[middle - 1] + sorted[middle]) / 2;
}

export interface Interval {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 2000;

/**
 * The median and its 95 % interval by bootstrap: the percentiles of the medians of samples drawn with replacement.
 * The drawing is seeded, so equal values give equal intervals.
 */
export function medianInterval(values: readonly number[]): Interval {
  const medians = new Float64Array(RESAMPLES);
  const sample = new Array<number>(values.length);
  let random = 0x9e3779b9;
  for (let resample = 0; resample < RESAMPLES; resample++) {
    for (let at = 0; at < values.length; at++) {
      random ^= random << 13;
      random ^= random >>> 17;
      random ^= random << 5;
      sample[at] = values[(random >>> 0) % values.length];
    }
    medians[resample] = median(sample);
  }
  medians.sort();
  return {
    median: median(values),
    low: medians[Math.floor(RESAMPLES * 0.025)],
    high: medians[Math.ceil(RESAMPLES * 0.975) - 1],
  };
}
