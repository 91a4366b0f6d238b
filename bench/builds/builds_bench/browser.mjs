// Loads a page in Chromium as a visitor does, and prints what came of it as one line of JSON: its
// title, the text that it shows, and whatever went wrong, a failed request and a console error too.
//
//     node browser.mjs FOLDER_OF_TOOLS CHROMIUM URL
import { createRequire } from 'node:module';
import path from 'node:path';

const [tools, chromium, url] = process.argv.slice(2);
const { chromium: browserType } = createRequire(path.join(tools, 'x.js'))('playwright-core');
const browser = await browserType.launch({
  executablePath: chromium,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const problems = [];
try {
  const page = await browser.newPage();
  page.on('console', (message) => message.type() === 'error' && problems.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => problems.push(`script: ${error.message}`));
  page.on('requestfailed', (request) => problems.push(`request: ${request.url()}: ${request.failure()?.errorText}`));
  page.on('response', (response) => {
    // Browsers ask for it by themselves.
    const own = new URL(response.url()).pathname !== '/favicon.ico';
    if (own && response.status() >= 400) problems.push(`request: ${response.url()}: ${response.status()}`);
  });
  await page.goto(url, { waitUntil: 'networkidle', timeout: 60_000 });
  const text = (await page.locator('body').innerText()).replace(/\s+/g, ' ').trim();
  const real = problems.filter((problem) => !/favicon\.ico/.test(problem));
  // A missing favicon shows on the console without its name.
  const other = real.filter((problem) => !/^console: Failed to load resource: .* 404/.test(problem)
    || real.some((one) => one.startsWith('request:')));
  console.log(JSON.stringify({ title: await page.title(), text: text.slice(0, 2000), problems: other }));
} catch (error) {
  console.log(JSON.stringify({ title: '', text: '', problems: [...problems, error.message] }));
} finally {
  await browser.close();
}
