/**
 * How much longer than usual control waits for the data plane, the data plane for a plugin, and an IKE daemon for the other end:
 * `HOMEWARD_PATIENCE`, a factor of at least 1, for machines on which everything is slow, such as an emulated one (`scripts/lab`).
 */
const given = Number(process.env.HOMEWARD_PATIENCE ?? 1);

export const PATIENCE = given >= 1 && given <= 1000 ? given : 1;
