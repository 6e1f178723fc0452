/**
 * How much longer than usual tests wait for what must happen: TEST_PATIENCE, 1 where it is not set. For machines on
 * which everything is slow, such as an emulated guest. What must not happen is not waited for longer.
 */
export const PATIENCE = Number(process.env.TEST_PATIENCE ?? 1);

/** How long what is waited for is left alone between two looks. */
const LOOK_MS = 10 * PATIENCE;

/**
 * Waits until `check` gives something true, which it returns; throws when `timeoutMs` have passed. Where looking itself
 * takes long, it looks less often: it must not keep from happening what it waits for.
 */
export async function eventually<T>(
  what: string,
  check: () => T | Promise<T>,
  timeoutMs = 20_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs * PATIENCE;
  for (;;) {
    const began = performance.now();
    const value = await check();
    if (value) return value;
    const now = performance.now();
    if (now > deadline) throw new Error(`did not happen within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, Math.max(LOOK_MS, 4 * (now - began))));
  }
}
