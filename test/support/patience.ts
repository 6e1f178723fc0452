/**
 * How much longer than usual tests wait for what must happen: TEST_PATIENCE, 1 where it is not set. For machines on
 * which everything is slow, such as an emulated guest. What must not happen is not waited for longer.
 */
export const PATIENCE = Number(process.env.TEST_PATIENCE ?? 1);
