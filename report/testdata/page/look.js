// Opens pages in Chromium as a reader does and prints, as JSON, what it was
// like: node look.js CHROMIUM DIR SCREENSHOTS < LIST, LIST being a JSON list of
// {name, filters, axe, picture} for DIR/name.html. SCREENSHOTS may be empty.
"use strict";
const path = require("path");
const modules = process.env.PORTCHECK_NODE_MODULES;
const { chromium } = require(path.join(modules, "playwright-core"));
const axe = require.resolve(path.join(modules, "axe-core", "axe.min.js"));

async function main() {
  const [executablePath, dir, shots] = process.argv.slice(2);
  const list = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const told = {};
  for (const { name, filters, axe: withAxe, picture } of list) {
    const facts = (told[name] = { console: [], requests: [], dialogs: [], wide: [], violations: [], filters: {}, elements: 0, withoutScript: 0 });
    const file = "file://" + path.join(dir, name + ".html");
    for (const scheme of ["light", "dark"]) {
      for (const width of [360, 1280]) {
        // axe is not the page's script: its policy would forbid it.
        const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, bypassCSP: false });
        const page = await context.newPage();
        page.on("console", (m) => facts.console.push(m.text()));
        page.on("pageerror", (e) => facts.console.push(String(e)));
        page.on("request", (r) => { if (r.url() !== file) { facts.requests.push(r.url()); } });
        page.on("dialog", (d) => { facts.dialogs.push(d.message()); d.dismiss(); });
        await page.goto(file);
        const at = scheme + " at " + width;
        const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
        if (scroll > width) { facts.wide.push(at + ": " + scroll); }
        facts.elements = await page.evaluate(() => document.querySelectorAll("*").length);
        if (shots && picture) { await page.screenshot({ path: path.join(shots, `${name}-${scheme}-${width}.png`), fullPage: true }); }
        if (scheme === "light") {
          for (const choice of filters || []) {
            for (const [id, label] of Object.entries(choice)) { await page.selectOption("#" + id, { label }); }
            facts.filters[JSON.stringify(choice)] = {
              shown: await page.locator(".results tbody tr:visible").count(),
              count: await page.textContent("#count"),
              live: await page.getAttribute("#count", "aria-live"),
            };
            await page.click("button[type=reset]");
            await page.waitForFunction(() => document.querySelectorAll(".results tbody tr[hidden]").length === 0);
          }
        }
        await context.close();
        if (!withAxe) { continue; }
        const checked = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, bypassCSP: true });
        const again = await checked.newPage();
        await again.goto(file);
        for (const d of await again.$$("details")) { await d.evaluate((x) => { x.open = true; }); }
        await again.addScriptTag({ path: axe });
        const result = await again.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        for (const v of result.violations) {
          facts.violations.push(`${at}: ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html + " " + n.failureSummary).join(" | ")}`);
        }
        await checked.close();
      }
    }
    const bare = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 900 } });
    const page = await bare.newPage();
    await page.goto(file);
    facts.withoutScript = await page.locator(".results tbody tr:visible").count();
    facts.formWithoutScript = await page.locator("form:visible").count();
    await page.emulateMedia({ media: "print" });
    facts.printed = await page.locator(".results tbody tr:visible").count();
    facts.formPrinted = await page.locator("form:visible").count();
    if (shots && picture) { await page.pdf({ path: path.join(shots, name + ".pdf") }); }
    await bare.close();
  }
  await browser.close();
  console.log(JSON.stringify(told));
}

main().catch((e) => { console.error(e); process.exit(1); });
