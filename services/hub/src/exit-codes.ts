// Exit codes of sendense-hub, of sysexits.h where it has one; docs/operations.md explains them.

export const EX_USAGE = 2;
/** EX_CONFIG. Something in the configuration is wrong; systemd is told not to start again then. */
export const EX_CONFIG = 78;
/** EX_TEMPFAIL. Another hub has the catalogue or the data directory; worth another try, which systemd makes. */
export const EX_IN_USE = 75;
