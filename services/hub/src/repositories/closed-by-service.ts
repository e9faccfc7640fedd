/** What the unit of the Debian package closes, and what opens one directory of it (systemd.exec(5)). */
const CLOSED: readonly { readonly below: readonly string[]; readonly open: (path: string) => string }[] = [
  {
    below: ['/home', '/root', '/run/user'],
    open: (path) => `ProtectHome=tmpfs and BindPaths=${path}`,
  },
  { below: ['/usr', '/etc', '/boot', '/efi'], open: (path) => `ReadWritePaths=${path}` },
  { below: ['/tmp', '/var/tmp'], open: (path) => `BindPaths=${path}` },
];

/**
 * A directory that cannot be used may be closed by the unit that the hub runs in: the administrator sees it, and its
 * owner and mode are right. systemd sets INVOCATION_ID for what it runs.
 *
 * @returns the lines of a drop-in that open it; undefined when the unit is not the reason
 */
export function openedBy(path: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (!env['INVOCATION_ID']) return undefined;
  const isBelow = (folder: string) => path === folder || path.startsWith(`${folder}/`);
  return CLOSED.find(({ below }) => below.some(isBelow))?.open(path);
}
