// ssh2 is CommonJS and shows only some of its names to ES modules: this is the one place that takes it apart.
import ssh2 from 'ssh2';

export const { Client, Server, utils } = ssh2;

export type {
  AuthContext,
  Channel,
  Client as SshClient,
  Connection as SshConnection,
  KeyboardAuthContext,
  PublicKeyAuthContext,
  Session as SshSession,
  TcpipRequestInfo,
} from 'ssh2';
