import { resolve } from 'node:path';
import type { Constellation, Stage } from '@sendense/stage';
import type { Facts } from './show.js';

// Commands to try by hand in a shell, from the root of the checkout. A test pastes them.

/** Those that need nothing that runs. */
export function nextSteps(stage: Stage, { incremental }: Facts): string {
  return `
Next, by hand: the incremental and the full that it builds on are plain QCOW2 files (docs/restore-by-hand.md), and the
programs have left their logs.

  qemu-img info --backing-chain ${word(incremental.disks[0]?.qcow2_path ?? '')}
  ls ${word(stage.path('log'))}
`;
}

export const KEEP_STEP = `This leaves everything running, and prints commands of the CLI, curl and grpcurl to try:

  ./dev demo --keep
`;

/** Those that talk to what is kept running. @param directory of the demo, when it is not the default */
export function runningSteps(
  stage: Stage,
  pair: Constellation,
  repositoryId: string,
  vm: string,
  directory: string | undefined,
): string {
  const { lab, url, token } = pair;
  const grpcurl = word(`${tools()}/go/bin/grpcurl`);
  const [onNode, onHub] = [pair.nodeSocket, pair.hubNodeSocket].map((socket) => word(`unix://${socket}`));
  const { host } = new URL(lab.endpoint);
  const stop = ['./dev demo --stop', ...(directory === undefined ? [] : ['--dir', word(directory)])];
  return `Everything is running until this ends it: ${stop.join(' ')}

  export SENDENSE_URL=${url} SENDENSE_TOKEN=${token}
  bin/sendense status
  bin/sendense backup list
  bin/sendense backup plan ${vm} --repository ${repositoryId} --type incremental
  bin/sendense backup start ${vm} --repository ${repositoryId} --type incremental --follow
  bin/sendense restore-point list
  bin/sendense retention set --vm ${vm} --keep-last 2 && bin/sendense retention apply --vm ${vm} --repository ${repositoryId}

  curl -s ${url}/health
  curl -s -H "Authorization: Bearer $SENDENSE_TOKEN" ${url}/api/v1/repositories
  curl -s -H "Authorization: Bearer $SENDENSE_TOKEN" -H 'Content-Type: application/json' \\
    -d '{"vm_name":"${vm}","repository_id":"${repositoryId}","backup_type":"full"}' ${url}/api/v1/backups

  ${grpcurl} -plaintext ${onNode} list
  ${grpcurl} -plaintext ${onNode} describe sendense.node.v1.NodeService
  ${grpcurl} -plaintext ${onHub} sendense.node.v1.NodeService/GetNode
  printf '{"vcenter":{"endpoint":"${host}","username":"${lab.username}","password":"%s","thumbprint":"${lab.thumbprint_sha256}"}}' \\
    "$(cat ${word(lab.password_file)})" | ${grpcurl} -plaintext -d @ ${onHub} sendense.node.v1.NodeService/ListVirtualMachines

  export LAB_DIR=${word(stage.path('lab'))}
  bin/sendense-lab guest write ${vm} --disk 2000 --offset 4096 --random seed --length 1048576
  bin/sendense-lab snapshot list ${vm}
`;
}

/** Where ./dev keeps its tools, as tools/setup.sh knows it. */
function tools(): string {
  const moved = process.env['SENDENSE_TOOLS_DIR'];
  return moved ? resolve(moved) : '.tools';
}

/** As one word of a shell. */
function word(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
