import { readFileSync } from 'node:fs';
import { BinaryReader } from '@bufbuild/protobuf/wire';

/** All contracts as a FileDescriptorSet. */
const descriptorSetUrl = new URL('../../src/gen/descriptors.binpb', import.meta.url);

/** Field 1 of FileDescriptorSet, `repeated FileDescriptorProto file`, as protobuf tags it. */
const FILE_FIELD = 1;

/**
 * Every file of the contracts as an encoded FileDescriptorProto, for gRPC reflection. They are handed on as the compiler
 * wrote them: libraries that read descriptors and write them again lose map entries and references between files.
 */
export function fileDescriptors(): Buffer[] {
  const files: Buffer[] = [];
  const reader = new BinaryReader(readFileSync(descriptorSetUrl));
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === FILE_FIELD) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType);
  }
  return files;
}
