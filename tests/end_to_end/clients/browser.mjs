// Chromium without a window, for whoever needs a page.
import { chromium } from "playwright-core";

// Nothing but the page shall go over the network.
const QUIET = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// Opens `url` in a fresh profile and gives the page to `use`; closes all after it.
export async function withPage(url, use) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: QUIET,
  });
  try {
    // It need not know who signs the certificates of tests.
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    page.setDefaultTimeout(20_000);
    await page.goto(url);
    return await use(page);
  } finally {
    await browser.close();
  }
}
