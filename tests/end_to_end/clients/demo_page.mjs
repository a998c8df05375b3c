// A person at the demo: starts it, looks at it in the silence, stops it, and says what
// was to be seen.
import { withPage } from "./browser.mjs";

const { url, screenshot } = JSON.parse(process.argv[2]);

// Runs in the page.
function columns() {
  const look = (id) => {
    const column = document.getElementById(id);
    const number = (name) => Number(column.querySelector(`[data-of=${name}]`).textContent);
    return {
      answer: column.querySelector(".answer").textContent,
      events: number("events"),
      heartbeats: number("heartbeats"),
      outcome: column.querySelector(".outcome").textContent,
    };
  };
  return { buffering: look("buffering"), sidecar: look("sidecar") };
}

await withPage(url, async (page) => {
  const button = (name) => page.getByRole("button", { name });
  const sidecar = page.getByRole("region", { name: "Through sse-sidecar" });

  await button("Start").click();
  await sidecar.getByText("An answer like this one").waitFor();
  const early = await page.evaluate(columns);

  const heartbeats = sidecar.locator("[data-of=heartbeats]");
  await heartbeats.filter({ hasText: /^[1-9]/ }).waitFor();
  const silent = await page.evaluate(columns);

  await button("Stop").click();
  await sidecar.getByText("The backend saw the cancellation").waitFor();
  const stopped = await page.evaluate(columns);
  await page.screenshot({ path: screenshot, fullPage: true });

  console.log(JSON.stringify({ early, silent, stopped }));
});
