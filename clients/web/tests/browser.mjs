// For the tests: a Chromium that obeys lines on standard input.
//
//     node browser.mjs CHROMIUM [SWITCH...]
//
// A line is JSON: {"code": "...", "given": ...}. The code is the body of an async function of `browser` (Playwright's),
// `kept` (an object that lasts) and `given`; the answer is one line, {"value": ...} or {"error": "..."}.
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const [executablePath, ...args] = process.argv.slice(2);
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor;
const browser = await chromium.launch({ executablePath, args, headless: true });
const kept = {};

for await (const line of createInterface({ input: process.stdin })) {
  const { code, given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await new AsyncFunction("browser", "kept", "given", code)(browser, kept, given)) ?? null };
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
