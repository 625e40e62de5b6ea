// Opens pages in Chromium as a reader does and prints, as JSON, what it found:
// node look.js CHROMIUM DIR SCREENSHOTS < LIST. LIST is a JSON list of
// {name, filters, axe, picture} for DIR/name.html. SCREENSHOTS may be empty.
"use strict";
const fs = require("fs");
const path = require("path");
const modules = process.env.PORTCHECK_NODE_MODULES;
const { chromium } = require(path.join(modules, "playwright-core"));
const axe = fs.readFileSync(require.resolve(path.join(modules, "axe-core", "axe.min.js")), "utf8");

const tabs = 3; // open at a time

async function main() {
  const [executablePath, dir, shots] = process.argv.slice(2);
  const list = JSON.parse(fs.readFileSync(0, "utf8"));
  const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const found = {};
  const next = list.values();
  const work = async () => {
    for (const page of next) { found[page.name] = await look(browser, dir, shots, page); }
  };
  await Promise.all(Array.from({ length: tabs }, work));
  await browser.close();
  console.log(JSON.stringify(found));
}

// look opens a page twice: with its script, at each width and colour scheme,
// and without.
async function look(browser, dir, shots, { name, filters, axe: withAxe, picture }) {
  const facts = { console: [], requests: [], dialogs: [], wide: [], violations: [], filters: {}, elements: 0, withoutScript: 0 };
  const file = "file://" + path.join(dir, name + ".html");
  const context = await browser.newContext({ viewport: { width: 360, height: 900 }, colorScheme: "light" });
  const page = await context.newPage();
  page.on("console", (m) => facts.console.push(m.text()));
  page.on("pageerror", (e) => facts.console.push(String(e)));
  page.on("request", (r) => { if (r.url() !== file) { facts.requests.push(r.url()); } });
  page.on("dialog", (d) => { facts.dialogs.push(d.message()); d.dismiss(); });
  await page.goto(file);
  const views = [];
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1280]) { views.push({ colorScheme, width, at: colorScheme + " at " + width }); }
  }
  const show = async ({ colorScheme, width }) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
  };
  for (const view of views) {
    await show(view);
    const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
    if (scroll > view.width) { facts.wide.push(view.at + ": " + scroll); }
    if (shots && picture) { await page.screenshot({ path: path.join(shots, `${name}-${view.colorScheme}-${view.width}.png`), fullPage: true }); }
    if (view.colorScheme === "light") {
      for (const choice of filters || []) { await choose(page, choice, facts.filters); }
    }
  }
  facts.elements = await page.evaluate(() => document.querySelectorAll("*").length);
  if (withAxe) {
    // The page's policy forbids scripts of others, but not the debugger's.
    await page.evaluate(axe);
    await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
    for (const view of views) {
      await show(view);
      const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      if (result.passes.length === 0) { facts.violations.push(view.at + ": axe found nothing to check"); }
      for (const v of result.violations) {
        facts.violations.push(`${view.at}: ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html + " " + n.failureSummary).join(" | ")}`);
      }
    }
  }
  await context.close();

  const bare = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 900 } });
  const plain = await bare.newPage();
  await plain.goto(file);
  facts.withoutScript = await visible(plain, ".results tbody tr");
  facts.formWithoutScript = await visible(plain, "form");
  await plain.emulateMedia({ media: "print" });
  facts.printed = await visible(plain, ".results tbody tr");
  facts.formPrinted = await visible(plain, "form");
  if (shots && picture) { await plain.pdf({ path: path.join(shots, name + ".pdf") }); }
  await bare.close();
  return facts;
}

// visible counts the elements that a reader sees.
function visible(page, selector) {
  return page.evaluate((s) => Array.from(document.querySelectorAll(s)).filter((e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0).length, selector);
}

// choose sets filters, counts the rows that are left, and resets the filters.
async function choose(page, choice, filters) {
  for (const [id, label] of Object.entries(choice)) { await page.selectOption("#" + id, { label }); }
  filters[JSON.stringify(choice)] = {
    shown: await visible(page, ".results tbody tr"),
    count: await page.textContent("#count"),
    live: await page.getAttribute("#count", "aria-live"),
  };
  await page.click("button[type=reset]");
  await page.waitForFunction(() => document.querySelectorAll(".results tbody tr[hidden]").length === 0);
}

main().catch((e) => { console.error(e); process.exit(1); });
