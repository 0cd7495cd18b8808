/**
 * Reads untrusted .npz files, only in the form that numpy.savez writes, and only up to the expected size, as
 * onnxzoo/artifact/npz.py does.
 */

import { latin1 } from "./bytes.js";
import { inflatedWhole, InflateError } from "./inflate.js";

const MAX_MEMBERS = 16;
const MAX_HEADER_BYTES = 4096;
const END_BYTES = 22;
const MAGIC = "\x93NUMPY\x01\0";
const HEADER = /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(((?:[0-9]{1,10}, ?)*[0-9]{0,10})\), \} *\n$/;
const STORED = 0;
const DEFLATED = 8;

/** The file is damaged or was not written by numpy; the message is one line. */
export class NpzError extends Error {}

/** An array of float32 of any shape. */
export interface FloatArray {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

interface Member {
  readonly method: number;
  readonly packed: Uint8Array;
  readonly size: number;
}

export class Npz {
  private readonly members = new Map<string, Member>();

  /** Reads the directory. `mostBytes`: what all members may take together. Throws NpzError. */
  constructor(data: Uint8Array, mostBytes: number) {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const end = data.length - END_BYTES;
    if (end < 0 || view.getUint32(end, true) !== 0x06054b50) {
      throw new NpzError("it does not end like a plain zip file; it may be truncated");
    }
    const count = view.getUint16(end + 10, true);
    let at = view.getUint32(end + 16, true);
    let total = 0;
    if (count > MAX_MEMBERS) throw new NpzError(`it lists ${count} members, expected up to ${MAX_MEMBERS}`);
    for (let member = 0; member < count; member++) {
      if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) throw new NpzError("its directory is damaged");
      const [flags, method] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
      const [packed, size] = [view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
      const nameBytes = view.getUint16(at + 28, true);
      const local = view.getUint32(at + 42, true);
      const name = latin1(data.subarray(at + 46, at + 46 + nameBytes));
      total += size;
      if (total > mostBytes) throw new NpzError(`its members declare more than ${mostBytes} bytes`);
      if ((flags & 1) !== 0 || ![STORED, DEFLATED].includes(method)) {
        throw new NpzError(`'${name}' is encrypted, or compressed by another method than deflate`);
      }
      if (local + 30 > end || view.getUint32(local, true) !== 0x04034b50) throw new NpzError("a member is damaged");
      const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      if (start + packed > end) throw new NpzError("a member is cut off");
      this.members.set(name, { method, packed: data.subarray(start, start + packed), size });
      at += 46 + nameBytes + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    }
  }

  /** The array of float32 of this name. Throws NpzError if it is missing, damaged or of another type. */
  async floats(name: string): Promise<FloatArray> {
    const member = this.members.get(`${name}.npy`);
    if (member === undefined) throw new NpzError(`it has no array '${name}'`);
    const data = await unpacked(member, name);
    const length = data.length < 10 ? 0 : data[8]! | (data[9]! << 8);
    const found = length <= MAX_HEADER_BYTES ? HEADER.exec(latin1(data.subarray(10, 10 + length))) : null;
    if (latin1(data.subarray(0, 8)) !== MAGIC || found === null) {
      throw new NpzError(`the array '${name}' does not have a header that numpy writes for float32`);
    }
    const shape = found[1]!.split(",").filter((side) => side.trim()).map(Number);
    const count = shape.reduce((product, side) => product * side, 1);
    const body = data.subarray(10 + length);
    if (body.length !== 4 * count) {
      throw new NpzError(`'${name}' takes ${body.length} bytes, expected ${4 * count}`);
    }
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    return { shape, values: Float32Array.from({ length: count }, (_, at) => view.getFloat32(4 * at, true)) };
  }
}

async function unpacked({ method, packed, size }: Member, name: string): Promise<Uint8Array> {
  let data = packed;
  if (method === DEFLATED) {
    try {
      data = await inflatedWhole(packed, "deflate-raw", size);
    } catch (error) {
      if (!(error instanceof InflateError)) throw error;
      throw new NpzError(`'${name}': ${error.message}`);
    }
  }
  if (data.length !== size) throw new NpzError(`'${name}' has ${data.length} bytes, expected ${size}`);
  return data;
}
