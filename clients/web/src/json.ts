/**
 * A strict parser for untrusted JSON documents (RFC 8259), with the limits of onnxzoo/strict_json.py.
 *
 * JSON.parse takes the last of two equal keys and does not tell 1 from 1.0.
 */

export const MAX_DEPTH = 100;
export const MAX_DIGITS = 40;

/** A number; `whole`: it was written without fraction and exponent. */
export class JsonNumber {
  constructor(
    readonly value: number,
    readonly whole: boolean,
  ) {}
}

export type Json = null | boolean | string | JsonNumber | Json[] | Map<string, Json>;

/** Parses a document in UTF-8. Throws SyntaxError with a reason of one line. */
export function parseJson(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new SyntaxError("it is not UTF-8");
  }
  return new Parser(text).document();
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const WORDS: ReadonlyArray<readonly [string, null | boolean]> = [
  ["null", null],
  ["true", true],
  ["false", false],
];

class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  document(): Json {
    const value = this.value(0);
    this.skipSpace();
    if (this.at < this.text.length) this.fail("expected the end");
    return value;
  }

  private fail(reason: string): never {
    throw new SyntaxError(`it is not JSON: ${reason} at character ${this.at}`);
  }

  private skipSpace(): void {
    while (" \t\r\n".includes(this.text[this.at] ?? "x")) this.at++;
  }

  /** Whether this character comes next, after white space; then it is passed. */
  private take(character: string): boolean {
    this.skipSpace();
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found;
  }

  private value(depth: number): Json {
    if (depth > MAX_DEPTH) throw new SyntaxError(`it is nested more than ${MAX_DEPTH} deep`);
    if (this.take("{")) return this.object(depth);
    if (this.take("[")) return this.array(depth);
    if (this.text[this.at] === '"') return this.string();
    for (const [word, meaning] of WORDS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return meaning;
      }
    }
    return this.number();
  }

  private object(depth: number): Json {
    const result = new Map<string, Json>();
    if (this.take("}")) return result;
    do {
      this.skipSpace();
      const key = this.string();
      if (result.has(key)) throw new SyntaxError(`the key '${key.slice(0, 80)}' occurs twice in one object`);
      if (!this.take(":")) this.fail("expected :");
      result.set(key, this.value(depth + 1));
    } while (this.take(","));
    if (!this.take("}")) this.fail("expected }");
    return result;
  }

  private array(depth: number): Json {
    const result: Json[] = [];
    if (this.take("]")) return result;
    do result.push(this.value(depth + 1));
    while (this.take(","));
    if (!this.take("]")) this.fail("expected ]");
    return result;
  }

  private number(): JsonNumber {
    const found = this.match(NUMBER);
    if (!found) this.fail("expected a value");
    const [digits, fraction, exponent] = found;
    const whole = fraction === undefined && exponent === undefined;
    if (whole && digits.length > MAX_DIGITS) {
      throw new SyntaxError(`a whole number has ${digits.length} digits, expected up to ${MAX_DIGITS}`);
    }
    const value = Number(digits);
    if (!Number.isFinite(value)) throw new SyntaxError(`the number ${digits.slice(0, 20)} is too large for a float64`);
    return new JsonNumber(value, whole);
  }

  private string(): string {
    const found = this.match(STRING);
    if (!found) this.fail("expected a text");
    const text = JSON.parse(found[0]) as string;
    if (/\p{Cs}/u.test(text)) {
      throw new SyntaxError("a text holds half of a surrogate pair (\\ud800 to \\udfff)");
    }
    return text;
  }
}
