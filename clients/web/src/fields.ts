/** Reading the fields of a document with checks of their types and ranges, as onnxzoo/artifact/config_fields.py does. */

import { type Json, JsonNumber } from "./json.js";

const MAX_TEXT = 1000;
const SHOWN = 60;

/** A field is missing or has an invalid value; the message names it. */
export class FieldError extends Error {}

/** An object of the document. Methods throw FieldError naming the field and the expected value. */
export class Fields {
  readonly values: ReadonlyMap<string, Json>;

  /** `path`: location of the object in the document, "" for the document itself. */
  constructor(
    object: Json,
    private readonly path = "",
  ) {
    if (!(object instanceof Map)) throw new FieldError(`${path} must be an object`);
    this.values = object;
  }

  /** The field's name from the top of the document. */
  named(key: string): string {
    return (this.path ? `${this.path}.` : "") + key.slice(0, SHOWN);
  }

  value(key: string): Json {
    const found = this.values.get(key);
    if (found === undefined) throw new FieldError(`'${this.named(key)}' is missing`);
    return found;
  }

  /** A whole number; true and 1.0 are refused. */
  whole(key: string, least: number, most: number): number {
    const found = this.value(key);
    if (!(found instanceof JsonNumber) || !found.whole || found.value < least || found.value > most) {
      const expected = least === most ? `${least}` : `a whole number from ${least} to ${most}`;
      throw new FieldError(`${this.named(key)} must be ${expected}`);
    }
    return found.value;
  }

  /** Text of `least` to 1000 characters. */
  text(key: string, least = 0): string {
    const found = this.value(key);
    if (typeof found !== "string" || found.length > 2 * MAX_TEXT || !within([...found].length, least, MAX_TEXT)) {
      throw new FieldError(`${this.named(key)} must be text of ${least} to ${MAX_TEXT} characters`);
    }
    return found;
  }

  object(key: string): Fields {
    return new Fields(this.value(key), this.named(key));
  }

  /** Three finite numbers. */
  triple(key: string): readonly [number, number, number] {
    const found = this.value(key);
    if (!Array.isArray(found) || found.length !== 3 || !found.every((one) => one instanceof JsonNumber)) {
      throw new FieldError(`${this.named(key)} must be 3 numbers (R, G, B)`);
    }
    const [red, green, blue] = found as JsonNumber[];
    return [red!.value, green!.value, blue!.value];
  }
}

function within(value: number, least: number, most: number): boolean {
  return least <= value && value <= most;
}
