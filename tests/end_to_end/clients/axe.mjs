// What keeps people out of a page, as axe-core finds it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export async function faults(page) {
  const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
  await page.evaluate(readFileSync(axe, "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
}
