// Makes ciphers that nobody keeps, and enough garbage for V8 to collect its young generation by itself many times.
import { ciphers } from '../src/ssh/library.js';

const info = ciphers.CIPHER_INFO['aes128-gcm@openssh.com'];
const key = Buffer.alloc(info?.keyLen ?? 0);
const iv = Buffer.alloc(info?.ivLen ?? 0);
let kept: object[] = [];
for (let round = 0; round < 1000; round++) {
  ciphers.createCipher({
    outbound: { seqno: 0, cipherInfo: info, cipherKey: key, cipherIV: iv, onWrite: () => undefined },
  });
  ciphers.createDecipher({
    inbound: { seqno: 0, decipherInfo: info, decipherKey: key, decipherIV: iv, onPayload: () => undefined },
  });
  for (let count = 0; count < 2000; count++) kept.push({ count, round: [round] });
  if (kept.length > 100_000) kept = [];
  // Garbage of a turn that is over, as that of connections is.
  await new Promise((resolve) => setImmediate(resolve));
}
console.log('alive');
