import type { Constellation, Stage } from '@sendense/stage';

/** Commands to try by hand. */
export function nextSteps(
  stage: Stage,
  pair: Constellation,
  repositoryId: string,
  vm: string,
  keep: boolean,
): string {
  if (!keep)
    return "\nNext: './dev demo --keep' leaves everything running and prints curl and grpcurl commands to try.\n";
  const { lab } = pair;
  return `
Everything is running; './dev demo --stop' ends it. Logs: ${stage.path('log')}

  export SENDENSE_URL=${pair.url} SENDENSE_TOKEN=${pair.token}
  bin/sendense status
  bin/sendense backup list
  bin/sendense backup plan ${vm} --repository ${repositoryId} --type incremental
  bin/sendense backup start ${vm} --repository ${repositoryId} --type incremental --follow
  bin/sendense restore-point list
  bin/sendense retention set --vm ${vm} --keep-last 2 && bin/sendense retention apply --vm ${vm} --repository ${repositoryId}

  curl -s ${pair.url}/health
  curl -s -H "Authorization: Bearer $SENDENSE_TOKEN" ${pair.url}/api/v1/repositories
  curl -s -H "Authorization: Bearer $SENDENSE_TOKEN" -H 'Content-Type: application/json' \\
    -d '{"vm_name":"${vm}","repository_id":"${repositoryId}","backup_type":"full"}' ${pair.url}/api/v1/backups

  .tools/go/bin/grpcurl -plaintext unix://${pair.nodeSocket} list
  .tools/go/bin/grpcurl -plaintext unix://${pair.nodeSocket} describe sendense.node.v1.NodeService
  .tools/go/bin/grpcurl -plaintext unix://${pair.hubNodeSocket} sendense.node.v1.NodeService/GetNode
  printf '{"vcenter":{"endpoint":"${new URL(lab.endpoint).host}","username":"${lab.username}","password":"%s","thumbprint":"${lab.thumbprint_sha256}"}}' \\
    "$(cat ${lab.password_file})" | .tools/go/bin/grpcurl -plaintext -d @ unix://${pair.hubNodeSocket} sendense.node.v1.NodeService/ListVirtualMachines

  export LAB_DIR=${stage.path('lab')}
  bin/sendense-lab guest write ${vm} --disk 2000 --offset 4096 --random seed --length 1048576
  bin/sendense-lab snapshot list ${vm}
`;
}
