// A person in Chromium: sets a password, signs in to let a program act as them, signs a device in,
// and looks at their account, on a phone and in the dark too. Prints what was wrong with a page.
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [executablePath, profile, server, invitation, authorize, device] = process.argv.slice(2);
const address = "ada@example.com";
const password = "correct horse battery staple";
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const context = await chromium.launchPersistentContext(profile, { executablePath, args: flags });
const page = await context.newPage();
const wrong = [];
page.on("console", (said) => {
  // A page that refuses something has a status that says so.
  if (!said.text().includes("responded with a status of 40")) wrong.push(said.text());
});
page.on("request", (asked) => {
  if (!asked.url().startsWith(server) && !asked.isNavigationRequest()) wrong.push(asked.url());
});

async function look(name) {
  for (const [width, colorScheme] of [[1280, "light"], [360, "dark"]]) {
    await page.setViewportSize({ width, height: 720 });
    await page.emulateMedia({ colorScheme });
    for (const problem of await page.evaluate(problems)) wrong.push(`${name}, ${width}: ${problem}`);
  }
}

// Runs in the page.
function problems() {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push("is wider than the screen");
  for (const field of document.querySelectorAll("input:not([type=hidden]):not([hidden])")) {
    if (!field.labels.length) found.push(`${field.name} has no label`);
    if (!field.autocomplete) found.push(`${field.name} does not say what it wants`);
  }
  for (const field of document.querySelectorAll("[aria-describedby]")) {
    for (const id of field.getAttribute("aria-describedby").split(" ")) {
      if (!document.getElementById(id)) found.push(`nothing is ${id}`);
    }
  }
  for (const button of document.querySelectorAll("button, a.button")) {
    const style = getComputedStyle(button);
    if (!button.textContent.trim()) found.push("a button has no name");
    if (button.getBoundingClientRect().height < 24) found.push("a button is too small to touch");
    if (style.color === style.backgroundColor) found.push("a button cannot be read");
  }
  const style = getComputedStyle(document.body);
  if (style.color === style.backgroundColor) found.push("the text cannot be read");
  return found;
}

async function see(text) {
  await page.getByText(text).first().waitFor({ timeout: 5000 });
}

await page.goto(invitation);
await look("invitation");
await page.getByLabel("New password").fill(password);
await page.getByLabel("The same again").fill(password);
await page.getByRole("button").click();
await see("Your password is set.");

const program = createServer((_asked, answer) => {
  answer.setHeader("content-type", "text/html");
  answer.end('<!doctype html><link rel="icon" href="data:,">Back at the program.');
});
await new Promise((ready) => program.listen(0, "127.0.0.1", ready));
const loopBack = `http://127.0.0.1:${program.address().port}/`;
await page.goto(`${authorize}&redirect_uri=${encodeURIComponent(loopBack)}`);
await look("sign-in");
await page.getByLabel("E-mail address").fill(address);
await page.getByLabel("Password").fill("wrong");
await page.keyboard.press("Enter");
await see("The address or the password is wrong.");
await look("sign-in refused");
if (!(await page.title()).startsWith("Error: ")) wrong.push("the title does not say of an error");
// The password is what has the focus now.
await page.keyboard.type(password);
await page.keyboard.press("Enter");
await see("act as you?");
await look("consent");
await page.getByRole("button", { name: "Continue" }).click();
await see("Back at the program.");
if (!new URL(page.url()).searchParams.get("code")) wrong.push(`no code at ${page.url()}`);
program.close();

await page.goto(device);
await look("device");
await page.getByRole("button", { name: "Continue" }).click();
await see("Sign this device in as you?");
await look("device confirmed");
await page.getByRole("button", { name: "Sign it in" }).click();
await see("The device is signed in.");

await page.goto(`${server}/account`);
await see("Where you are signed in");
await look("account");
await page.goto(`${server}/_/account/second-factor`);
await look("second factor");
await context.close();
console.log(JSON.stringify(wrong));
