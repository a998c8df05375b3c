// A visitor of a single-page application: follows a link, reloads there, comes again, goes to
// a page of another name, and says what was to be seen and what came over the network.
import { withPage } from "./browser.mjs";

const { url } = JSON.parse(process.argv[2]);

// Runs in the page, once all of it has come.
function look() {
  const text = (selector) => document.querySelector(selector).textContent;
  return {
    heading: text("h1"),
    color: getComputedStyle(document.querySelector("h1")).color,
    picture: document.querySelector("img").naturalWidth,
    late: text("#late"),
    events: [...document.querySelectorAll("li")].map((item) => item.textContent),
  };
}

await withPage("about:blank", async (page) => {
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  let responses = [];
  page.on("response", (response) => responses.push(response));

  const seen = async (go) => {
    responses = [];
    await go();
    await page.locator("li").nth(2).waitFor();
    await page.locator("#late").filter({ hasText: "here" }).waitFor();
    await page.waitForFunction(() => document.querySelector("img").naturalWidth > 0);
    const sent = await Promise.all(
      responses.map(async (response) => ({
        path: new URL(response.url()).pathname,
        status: response.status(),
        type: await response.headerValue("content-type"),
        coding: await response.headerValue("content-encoding"),
        tag: await response.headerValue("etag"),
      })),
    );
    return { ...(await page.evaluate(look)), sent };
  };

  const first = await seen(() => page.goto(url));
  await page.locator("a").click();
  const followed = await page.evaluate(look);
  const reloaded = await seen(() => page.reload());
  const deep = await seen(() => page.goto(new URL("/users/7?tab=2", url).href));
  const missing = await page.evaluate(async () => {
    const look = async (path) => (await fetch(path)).status;
    const script = new Promise((resolve) => {
      const element = document.createElement("script");
      element.onload = () => resolve("loaded");
      element.onerror = () => resolve("failed");
      element.src = "/assets/gone";
      document.body.append(element);
    });
    return [await look("/assets/gone.js"), await look("/gone"), await script];
  });
  console.log(JSON.stringify({ first, followed, reloaded, deep, missing, errors }));
});
