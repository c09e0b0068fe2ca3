// The console in Chromium, as a person uses it: what stands there is found by role and name, as a screen reader finds it.
//
// t/console/run starts the browser and says where it is in BROWSER.  SCREENSHOTS=DIRECTORY writes the pictures of the README there.

import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { assert, assertStatus, create, env, finish, keyed, logFile, minimal, poll, root, run, send, setSystem, sql, test, TOKENS, useEnv, validate } from '../http/lib.mjs';

useEnv();
const browser = await chromium.connectOverCDP(process.env.BROWSER);
const axe = readFileSync(path.join(root, 't/console/node_modules/axe-core/axe.min.js'), 'utf8');
const address = `${env.BASE_URL}/console/`;
const selectorOf = (secret) => secret.match(/\.v2_(.{22})_/)[1];
const keyPart = (secret) => secret.slice(-43);
const complaints = [];	// of pages: errors and violations of the policy
const urls = [];	// all that was asked for

// ---- A person at a browser of his own -------------------------------------------------------------------------------

async function person(options = {}) {
	const context = await browser.newContext({ viewport: { width: 1320, height: 900 }, locale: 'en-GB', timezoneId: 'Europe/Berlin', ...options });
	context.setDefaultTimeout(8000);
	const page = await context.newPage();
	await page.addInitScript(() => addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`)));
	page.on('console', (message) => { if (['error', 'warning'].includes(message.type()) && !/the server responded with a status of|net::ERR_INTERNET_DISCONNECTED/.test(message.text())) complaints.push(message.text()); });
	page.on('pageerror', (error) => complaints.push(String(error)));
	page.on('request', (request) => urls.push(request.url()));
	await page.goto(address);
	return page;
}

const named = (page, role, name, options = {}) => page.getByRole(role, { name, ...options });
const button = (page, name) => named(page, 'button', name, { exact: true });

async function signIn(page, key = env.ADMIN_TOKEN) {
	await page.getByLabel('Admin key').fill(key);
	await button(page, 'Sign in').click();
	await named(page, 'heading', 'Tokens', { level: 1 }).waitFor();
	await settled(page);
}

// The list was read, and shows what was found.
const settled = (page) => page.locator('section:has(h1):not(:has(table[aria-busy]))').filter({ has: page.locator('.status:not(:empty), .empty, .problem') }).first().waitFor();

async function search(page, text) {
	await page.getByLabel('Search', { exact: true }).fill(text);
	await button(page, 'Search').click();
	await settled(page);
}

// The dialog of a secret is closed, and what it does then is begun.
async function stored(page) {
	await button(page, 'I have stored it').click();
	await page.getByRole('dialog').waitFor({ state: 'detached' });
	await settled(page);
}

// What stands in the page or in the dialog before it, not what is only read out.
const told = (page, text) => page.locator('main, dialog').getByText(text).first();

const names = (page) => page.locator('tbody th .name').allInnerTexts();

async function openToken(page, name) {
	await search(page, name);
	await button(page, name).click();
	await named(page, 'heading', `Token ${name}`).waitFor();
}

async function assertAccessible(page, where) {
	await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
	await page.evaluate(axe);
	const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
	assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(' | ')}`), [], where);
}

// All that a page holds: markup, what is in fields, storage, cookies, its address and its history.
const everything = (page) => page.evaluate(async () => JSON.stringify([
	document.documentElement.outerHTML, [...document.querySelectorAll('input, textarea')].map((field) => field.value), { ...localStorage }, { ...sessionStorage },
	document.cookie, location.href, history.state, window.name, (await indexedDB.databases()).map(({ name }) => name), await caches.keys(),
]));

async function assertNowhere(page, secret, what) {
	assert.ok(!(await everything(page)).includes(keyPart(secret)), `${what} is in the page`);
	assert.deepEqual(await page.context().cookies(), [], 'there are cookies');
	assert.deepEqual(urls.filter((url) => decodeURIComponent(url).includes(keyPart(secret))), [], `${what} was in an address`);
	for (const name of ['postgresql', 'postgrest', 'nginx', 'nginx.error', 'nginx.access'])
		assert.ok(!readFileSync(logFile(name), 'utf8').includes(keyPart(secret)), `${what} is in the log ${name}`);
}

const shots = process.env.SCREENSHOTS;
const shoot = async (page, name) => {
	if (!shots) return;
	mkdirSync(shots, { recursive: true });
	await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
	await page.mouse.move(0, 0);
	await page.screenshot({ path: path.join(shots, `console-${name}.png`) });
};

// As the README shows it: tokens of a shop, in light and in dark.
async function takePictures() {
	await sql(`DELETE FROM unleash_tokens.api_token WHERE selector <> '${selectorOf(env.ADMIN_TOKEN)}'; INSERT INTO unleash_tokens.project (id) VALUES ('checkout'), ('search'), ('payments'), ('mobile') ON CONFLICT DO NOTHING`);
	const inDays = (days) => new Date(Date.now() + days * 86400000).toISOString();
	const make = async (tokenName, type, projects, days, more = {}) => (await create({ tokenName, type, projects, ...(type === 'admin' ? {} : { environment: 'production' }), ...(days ? { expiresAt: inDays(days) } : {}), ...more })).json.secret;
	const made = [
		await make('legacy-batch', 'client', ['checkout'], null), await make('ios-app', 'frontend', ['mobile'], 400), await make('load-test', 'client', ['*'], -6, { environment: 'development' }),
		await make('payments-team', 'admin', ['payments'], 150), await make('edge-eu-west', 'client', ['*'], 55), await make('billing\u202egnp.exe', 'backend', ['payments'], 80, { environment: 'development' }),
		await make('search-indexer', 'backend', ['search'], 260), await make('payments-worker', 'client', ['payments'], 14), await make('web-shop', 'frontend', ['checkout', 'search'], 90),
	];
	for (const secret of made.filter((_, i) => i % 2 === 1)) await validate(secret);
	await sql(`UPDATE unleash_tokens.api_token SET created_at = now() - interval '9 days' * (SELECT count(*) FROM unleash_tokens.api_token AS o WHERE o.selector >= api_token.selector), seen_at = CASE WHEN token_name ~ '^(edge|search)' THEN now() - interval '3 hours' END WHERE selector <> '${selectorOf(env.ADMIN_TOKEN)}'`);
	for (const colorScheme of ['light', 'dark']) {
		const page = await person({ colorScheme, viewport: { width: 1160, height: 700 } });
		await signIn(page);
		await shoot(page, `list-${colorScheme}`);
		await button(page, 'New token').click();
		await page.getByLabel('Name', { exact: true }).fill('checkout-api');
		await shoot(page, `create-${colorScheme}`);
		await button(page, 'Close').click();
		await button(page, 'search-indexer').click();
		await button(page, 'Rotate ...').click();
		await shoot(page, `rotate-${colorScheme}`);
		await page.context().close();
	}
}

const admin = async (more = {}) => (await create(minimal({ type: 'admin', environment: undefined, tokenName: `${run} admin`, ...more }))).json.secret;

// ---- The files ------------------------------------------------------------------------------------------------------

await test('the files come with a policy that lets nothing else in', async () => {
	for (const [file, type] of [['', 'text/html; charset=utf-8'], ['console.js', 'text/javascript; charset=utf-8'], ['console.css', 'text/css; charset=utf-8'], ['icon.svg', 'image/svg+xml; charset=utf-8']]) {
		const answer = await send('GET', `/console/${file}`);
		assertStatus(answer, 200);
		assert.equal(answer.header('content-type'), type);
		assert.match(answer.header('content-security-policy'), /^default-src 'none'; script-src 'self';(?!.*(unsafe|\*|https?:)).*form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'/);
		assert.equal(answer.header('x-content-type-options'), 'nosniff');
		assert.equal(answer.header('referrer-policy'), 'no-referrer');
	}
	const moved = await send('GET', '/console');
	assertStatus(moved, 308);
	assert.equal(moved.header('location'), 'console/');
	assertStatus(await send('GET', '/console/none.js'), 404);
	assertStatus(await send('GET', '/console/../nginx.conf'), 401);
	assertStatus(await send('GET', '/console/%2e%2e/openapi.json'), 401);
	assertStatus(await send('POST', '/console/'), 405);
});

await test('nothing is fetched from elsewhere, and no markup is made from text', () => {
	for (const file of ['index.html', 'console.js', 'api.js', 'dom.js', 'text.js', 'tokens.js', 'dialogs.js', 'events.js', 'health.js', 'console.css']) {
		const text = readFileSync(path.join(root, 'http/console', file), 'utf8');
		assert.doesNotMatch(text, /https?:\/\/|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage|sessionStorage|indexedDB|document\.cookie|pushState|replaceState/, file);
	}
});

// ---- Signing in -----------------------------------------------------------------------------------------------------

const page = await person();

// What a task before has left open is closed, so that one that fails takes no others along.
const task = (name, body) => test(name, async () => {
	await page.evaluate(() => document.querySelectorAll('dialog').forEach((dialog) => dialog.close()));
	await body();
});

await test('who signs in with no key, a wrong one or that of a program is told why not', async () => {
	await assertAccessible(page, 'sign in');
	await button(page, 'Sign in').click();
	await told(page, 'The key is missing.').waitFor();
	await page.getByLabel('Admin key').fill('*:*.none');
	await page.keyboard.press('Enter');
	await told(page, 'The key was refused').waitFor();
	const { json } = await create();
	await page.getByLabel('Admin key').fill(json.secret);
	await page.keyboard.press('Enter');
	await told(page, 'is of type client').waitFor();
	await assertAccessible(page, 'refused');
	assert.equal(await page.getByLabel('Admin key').inputValue(), '');
});

await test('the key is in memory alone', async () => {
	await signIn(page);
	await assertNowhere(page, env.ADMIN_TOKEN, 'the key');
});

await test('whoever goes away and comes back signs in anew', async () => {
	const other = await person();
	await signIn(other);
	await other.goto('about:blank');
	await other.goBack({ waitUntil: 'commit' });
	await other.getByLabel('Admin key').waitFor();
	await signIn(other);
	await other.reload();
	await other.getByLabel('Admin key').waitFor();
	await signIn(other);
	await button(other, 'Sign out').click();
	await other.getByLabel('Admin key').waitFor();
	assert.equal(await other.locator('table').count(), 0);
	await other.context().close();
});

// ---- Tasks ----------------------------------------------------------------------------------------------------------

await task('a token is made with the keyboard alone, and its secret is shown once', async () => {
	await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
	await button(page, 'New token').focus();
	await page.keyboard.press('Enter');
	await assertAccessible(page, 'new token');
	await page.keyboard.press('Enter');	// in the field of the name, which is empty
	await told(page, 'The name is missing.').waitFor();
	await page.keyboard.type(`${run} keyboard`);
	await page.keyboard.press('Enter');
	await named(page, 'heading', 'The token is made').waitFor();
	await assertAccessible(page, 'the secret');
	const secret = await page.getByLabel('Secret', { exact: true }).inputValue();
	assert.equal((await validate(secret)).tokenName, `${run} keyboard`);
	await page.keyboard.press('Escape');	// a slip of the hand does not lose it
	assert.ok(await page.getByLabel('Secret', { exact: true }).isVisible());
	await button(page, 'Copy the secret').click();
	await told(page, 'Copied.').waitFor();
	assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
	await stored(page);
	assert.equal((await names(page))[0], `${run} keyboard`);
	await assertNowhere(page, secret, 'the secret');
	const [days] = (await sql(`SELECT round(extract(epoch FROM expires_at - now()) / 86400) FROM unleash_tokens.api_token WHERE token_name = '${run} keyboard'`)).split('\n');
	assert.equal(days, '90', 'unless told otherwise it expires');
});

await task('"never expires" takes a second click', async () => {
	const count = () => sql(`SELECT count(*) FROM unleash_tokens.api_token WHERE token_name = '${run} never' AND expires_at IS NULL`);
	await button(page, 'New token').click();
	await page.getByLabel('Name', { exact: true }).fill(`${run} never`);
	await page.getByLabel('Expires').selectOption('never');
	await button(page, 'Create the token').click();
	await told(page, 'A token that never expires is valid until somebody deletes it.').waitFor();
	await assertAccessible(page, 'never');
	assert.equal(await count(), '0');
	await button(page, 'Create a token that never expires').click();
	await button(page, 'I have stored it').click();
	assert.equal(await count(), '1');
});

await task('a token gets type, environment, projects, limits and expiry as they were chosen', async () => {
	await sql(`INSERT INTO unleash_tokens.project (id) VALUES ('${run}-a'), ('${run}-b')`);
	await page.reload();
	await signIn(page);
	await button(page, 'New token').click();
	await page.getByLabel('Name', { exact: true }).fill(`${run} chosen`);
	const form = page.getByRole('dialog');
	await form.getByLabel('Type').selectOption('backend');
	await form.getByLabel('Environment').selectOption('production');
	await form.getByLabel('All projects').uncheck();
	await button(page, 'Create the token').click();
	await told(page, 'No project is chosen.').waitFor();
	for (const project of [`${run}-a`, `${run}-none`, `${run}-b`]) {
		await form.getByLabel('Add a project').fill(project);
		await page.keyboard.press('Enter');
	}
	await form.getByLabel('Expires').selectOption('date');
	await form.getByLabel('Expiry, in your own time').fill('2031-07-01T12:00');
	await form.getByText('Limits and more').click();
	await form.getByLabel('Uses').fill('10');
	await form.getByLabel('Seconds').fill('60');
	await form.getByLabel('Allowed addresses').fill('192.0.2.0/24\n2001:db8::/32');
	await assertAccessible(page, 'all fields');
	await button(page, 'Create the token').click();
	await form.getByText(`There is no project "${run}-none"`).or(form.getByText(`There is no project`)).first().waitFor();	// where it was asked
	await form.getByLabel(`Remove ${run}-none`).click();
	await button(page, 'Create the token').click();
	await button(page, 'I have stored it').click();
	const { tokens: [token] } = (await send('GET', `/api/admin/tokens?name=${encodeURIComponent(`${run} chosen`)}`, keyed())).json;
	assert.deepEqual([token.type, token.environment, token.projects, token.expiresAt, token.rateLimit, token.allowedIps, token.createdBy],
		['backend', 'production', [`${run}-a`, `${run}-b`], '2031-07-01T10:00:00.000Z', { limit: 10, period: 60, burst: 10 }, ['192.0.2.0/24', '2001:db8::/32'], 'first']);
});

await task('a token is found by its name, its selector and its secret, of which only the selector is sent', async () => {
	const { json: token } = await create(minimal({ tokenName: `${run} Findable` }));
	await search(page, `${run} find`);
	assert.deepEqual(await names(page), [`${run} Findable`]);
	await search(page, selectorOf(token.secret));
	assert.deepEqual(await names(page), [`${run} Findable`]);
	await search(page, token.secret);
	assert.deepEqual(await names(page), [`${run} Findable`]);
	assert.equal(await page.getByLabel('Search', { exact: true }).inputValue(), selectorOf(token.secret));
	await assertNowhere(page, token.secret, 'the secret that was looked for');
	await search(page, `${run} nobody`);
	await named(page, 'heading', 'No token matches').waitFor();
	await assertAccessible(page, 'no match');
	await button(page, 'Clear the filters').click();
	await settled(page);
	assert.ok((await names(page)).length > 1);
});

await task('filters and states show what they say', async () => {
	const make = async (name, change) => {
		const { json } = await create(minimal({ tokenName: `${run} state ${name}` }));
		await sql(`UPDATE unleash_tokens.api_token SET ${change} WHERE selector = '${selectorOf(json.secret)}'`);
	};
	await make('expired', "expires_at = now() - interval '1 hour'");
	await make('expiring', "expires_at = now() + interval '5 days'");
	await make('unused', "created_at = now() - interval '200 days', seen_at = now() - interval '120 days'");
	await make('pending', "next_verifier = sha256('a'), activate_by = now() + interval '1 day', grace = '1 day'");
	await make('grace', "next_verifier = sha256('b'), activate_by = now() + interval '1 day', grace = '1 day', old_until = now() + interval '1 day'");
	const labels = { expired: 'Expired', expiring: 'Expiring', unused: 'Unused for 120 days', pending: 'Rotation pending', grace: 'In grace' };
	for (const [state, label] of Object.entries(labels)) {
		await page.getByLabel('State').selectOption(state);
		await search(page, `${run} state`);
		assert.deepEqual(await names(page), [`${run} state ${state}`]);
		assert.equal(await page.locator('tbody .badge').innerText(), label);
	}
	await page.getByLabel('State').selectOption('unused');
	await page.getByLabel('Days').fill('150');
	await search(page, `${run} state`);
	await named(page, 'heading', 'No token matches').waitFor();
	await button(page, 'Clear', {}).click();
	await page.getByLabel('Type').selectOption('backend');
	await page.getByLabel('Project', { exact: true }).fill(`${run}-b`);
	await page.getByLabel('Environment').selectOption('production');
	await search(page, '');
	assert.deepEqual(await names(page), [`${run} chosen`]);
	await button(page, 'Clear').click();
	await settled(page);
});

await task('a token is rotated, its new secret shown once, and the rotation cancelled and finished', async () => {
	const { json: { secret } } = await create(minimal({ tokenName: `${run} rotated` }));
	await openToken(page, `${run} rotated`);
	await assertAccessible(page, 'a token');
	const dialog = page.getByRole('dialog');
	const rotate = async () => {
		await button(page, 'Rotate ...').click();
		await dialog.getByLabel('The old secret ends').selectOption('3600');
		await button(page, 'Rotate').click();
		await named(page, 'heading', 'The new secret').waitFor();
		const shown = await page.getByLabel('Secret', { exact: true }).inputValue();
		await stored(page);
		await assertNowhere(page, shown, 'the new secret');
		return shown;
	};
	const first = await rotate();
	assert.ok(await validate(secret), 'the old one goes on');
	await openToken(page, `${run} rotated`);
	await button(page, 'Cancel the rotation ...').click();
	await assertAccessible(page, 'cancel a rotation');
	await button(page, 'Cancel the rotation').click();
	await told(page, 'The rotation is cancelled.').waitFor();
	assert.equal(await validate(first), null);
	const second = await rotate();
	assert.ok(await validate(second));
	await poll('the use is written', 15000, async () => (await sql(`SELECT rotation FROM unleash_tokens.api_tokens WHERE selector = '${selectorOf(secret)}'`)) === 'grace');
	await openToken(page, `${run} rotated`);
	await button(page, 'End the old secret ...').click();
	await button(page, 'End the old secret').click();
	await told(page, 'The old secret has ended.').waitFor();
	assert.deepEqual([await validate(secret), (await validate(second)).tokenName], [null, `${run} rotated`]);
	await button(page, 'Close').click();
});

await task('an expiry is changed, and never only by a second click', async () => {
	const { json: { secret } } = await create(minimal({ tokenName: `${run} lasting`, expiresAt: '2030-01-01T00:00:00Z' }));
	const expiry = () => sql(`SELECT coalesce(to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), 'never') FROM unleash_tokens.api_token WHERE selector = '${selectorOf(secret)}'`);
	await openToken(page, `${run} lasting`);
	await button(page, 'Change expiry ...').click();
	const dialog = page.getByRole('dialog');
	await dialog.getByLabel('Expires').selectOption('date');
	assert.equal(await dialog.getByLabel('Expiry, in your own time').inputValue(), '2030-01-01T01:00');
	await dialog.getByLabel('Expiry, in your own time').fill('2032-01-01T01:00');
	await assertAccessible(page, 'change an expiry');
	await button(page, 'Change the expiry').click();
	await told(page, 'The expiry is changed.').waitFor();
	assert.equal(await expiry(), '2032-01-01 00:00');
	await button(page, 'Change expiry ...').click();
	await dialog.getByLabel('Expires').selectOption('never');
	await button(page, 'Change the expiry').click();
	await told(page, 'A token that never expires').waitFor();
	assert.equal(await expiry(), '2032-01-01 00:00');
	await button(page, 'Let it never expire').click();
	await told(page, 'The expiry is changed.').waitFor();
	assert.equal(await expiry(), 'never');
	await button(page, 'Close').click();
});

await task('before a token is deleted its last use is shown, as it is now', async () => {
	const { json: { secret } } = await create(minimal({ tokenName: `${run} doomed` }));
	await openToken(page, `${run} doomed`);
	await told(page, 'none known').waitFor();
	await validate(secret);	// after the page has read it
	await button(page, 'Delete ...').click();
	await told(page, 'Something is using it.').waitFor();
	await assertAccessible(page, 'delete a token');
	await button(page, 'Cancel').click();
	assert.ok(await validate(secret));
	await button(page, 'Delete ...').click();
	await button(page, 'Delete the token').click();
	await page.getByRole('dialog').waitFor({ state: 'detached' });
	assert.equal(await validate(secret), null);
	await settled(page);
	await named(page, 'heading', 'No token matches').waitFor();
});

await task('of two admins at once each sees what the other one did, when it matters', async () => {
	const other = await person();
	await signIn(other);
	await create(minimal({ tokenName: `${run} shared` }));
	await openToken(page, `${run} shared`);
	await openToken(other, `${run} shared`);
	await button(page, 'Change expiry ...').click();
	await button(page, 'Change the expiry').click();
	await told(page, 'The expiry is changed.').waitFor();
	await button(other, 'Rotate ...').click();
	await button(page, 'Delete ...').click();
	await button(page, 'Delete the token').click();
	await page.getByRole('dialog').waitFor({ state: 'detached' });
	await button(other, 'Rotate').click();
	await told(other, 'There is no such token any more.').waitFor();
	await button(other, 'Close').click();
	await settled(other);
	assert.deepEqual(await names(other), []);
	// two rotate: the second is told that the first was there
	await create(minimal({ tokenName: `${run} raced` }));
	await openToken(page, `${run} raced`);
	await openToken(other, `${run} raced`);
	await button(page, 'Rotate ...').click();
	await button(other, 'Rotate ...').click();
	await button(page, 'Rotate').click();
	const secret = await page.getByLabel('Secret', { exact: true }).inputValue();
	await validate(secret);
	await poll('the use is written', 15000, async () => (await sql(`SELECT rotation FROM unleash_tokens.api_tokens WHERE selector = '${selectorOf(secret)}'`)) === 'grace');
	await button(other, 'Rotate').click();
	await other.getByRole('alert').waitFor();
	assert.ok(await validate(secret));
	await button(page, 'I have stored it').click();
	await other.context().close();
});

await task('the session ends when the key is refused, whatever is open', async () => {
	const key = await admin();
	const other = await person();
	await signIn(other, key);
	await create(minimal({ tokenName: `${run} open` }));
	await openToken(other, `${run} open`);
	assertStatus(await send('DELETE', `${TOKENS}/${selectorOf(key)}`, keyed()), 200);
	await button(other, 'Delete ...').click();
	await told(other, 'The key was refused').waitFor();
	assert.equal(await other.getByRole('dialog').count() + await other.locator('table').count(), 0);
	await assertAccessible(other, 'the session has ended');
	await assertNowhere(other, key, 'the key');
	await other.context().close();
});

await task('a server that does not answer is said where it was asked, and asked again', async () => {
	await page.context().setOffline(true);
	await button(page, 'Search').click();
	await told(page, 'The server does not answer.').waitFor();
	await assertAccessible(page, 'no answer');
	await page.context().setOffline(false);
	await button(page, 'Try again').click();
	await settled(page);
	assert.equal(await told(page, 'The server does not answer.').count(), 0);
});

await task('an admin of some projects sees those alone, and no more views', async () => {
	const other = await person();
	await signIn(other, await admin({ projects: [`${run}-a`, `${run}-b`] }));
	assert.deepEqual((await names(other)).sort(), [`${run} admin`, `${run} chosen`]);
	assert.equal(await button(other, 'Events').count() + await button(other, 'Health').count(), 0);
	await button(other, 'New token').click();
	assert.ok(await other.getByLabel('All projects').isDisabled());
	await other.getByLabel('Name', { exact: true }).fill(`${run} of theirs`);
	await other.getByLabel('Add a project').fill(`${run}-a`);
	await button(other, 'Create the token').click();
	await button(other, 'I have stored it').click();
	await other.context().close();
});

await task('who is idle for half an hour is signed out', async () => {
	const other = await person();
	await other.clock.install();
	await other.reload();
	await signIn(other);
	await other.clock.fastForward(29 * 60 * 1000);
	await other.keyboard.press('Tab');
	await other.clock.fastForward(29 * 60 * 1000);
	assert.equal(await other.locator('table').count(), 1);
	await other.clock.fastForward(2 * 60 * 1000);
	await told(other, 'You were signed out after 30 idle minutes.').waitFor();
	assert.equal(await other.locator('table').count(), 0);
	await other.context().close();
});

await task('what the server does not allow is not offered', async () => {
	const back = await setSystem('unleash_tokens.max_lifetime', '60d');
	const other = await person();
	try {
		await signIn(other);
		await button(other, 'New token').click();
		assert.deepEqual(await other.getByLabel('Expires').locator('option').allInnerTexts(), ['In 30 days', 'At a time of your choice']);
		await told(other, 'no token live longer than 60 days').waitFor();
	} finally {
		await back();
	}
	const writable = await setSystem('default_transaction_read_only', 'on');
	try {
		// connections that PostgREST has read the setting too
		await poll('the server only reads', 10000, async () => (await send('GET', '/api/admin/token-choices', keyed())).json.writable === false);
		await other.reload();
		await signIn(other);
		assert.equal(await button(other, 'New token').count(), 0);
		await search(other, `${run} chosen`);
		await button(other, `${run} chosen`).click();
		await told(other, 'This server only reads').waitFor();
		assert.equal(await button(other, 'Delete ...').count(), 0);
	} finally {
		await writable();
		await poll('the server writes again', 10000, async () => (await send('GET', '/api/admin/token-choices', keyed())).json.writable);
		await other.context().close();
	}
});

// ---- Names ----------------------------------------------------------------------------------------------------------

await task('names that deceive are marked, and what is in them is text', async () => {
	const hostile = {
		direction: ['\u202Etxt.exe', 'U+202E'], isolate: ['a\u2066b\u2069', 'U+2066'], zero: ['pay\u200bments', 'U+200B'], soft: ['pay\u00adments', 'U+00AD'], tag: ['x\u{e0041}', 'U+E0041'],
		blanks: ['two  blanks', 'U+0020 U+0020'], filler: ['\u3164', 'U+3164'], letters: ['p\u0430yments', 'letters of several alphabets'], marks: [`z${'\u0334'.repeat(30)}`, 'stacked marks'],
		markup: ['<img src=x onerror=alert(1)><script>alert(1)</script>', '<img src=x onerror=alert(1)>'], formula: ['"><svg onload=alert(1)>{{7*7}}', '{{7*7}}'],
	};
	for (const [word, [name]] of Object.entries(hostile)) await create(minimal({ tokenName: `${run} hostile ${word} ${name}` }));
	await create(minimal({ tokenName: `${run} hostile ${'long '.repeat(190)}` }));
	await search(page, `${run} hostile`);
	const text = await page.locator('tbody').innerText();
	for (const [word, [, mark]] of Object.entries(hostile)) assert.ok(text.includes(mark), `${word}: ${mark}`);
	assert.doesNotMatch(text, /[\u202a-\u202e\u2066-\u2069\u200b\u00ad\u3164\u{e0041}]/u);
	assert.equal(await page.locator('tbody .badge.warning').count(), 10);
	assert.equal(await page.locator('tbody img, tbody svg, tbody script').count(), 0);
	await assertAccessible(page, 'hostile names');
	const width = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
	assert.equal(width[0], width[1], 'a long name does not widen the page');
	await named(page, 'button', new RegExp(`hostile direction`)).click();
	assert.match(await page.getByRole('dialog').innerText(), /U\+202E/);
	await button(page, 'Close').click();
});

// ---- The other views ------------------------------------------------------------------------------------------------

await task('events show what happened, to what and by whom', async () => {
	await button(page, 'Events').click();
	await page.locator('tbody tr').first().waitFor();
	await assertAccessible(page, 'events');
	const selector = await sql(`SELECT selector FROM unleash_tokens.api_token WHERE token_name = '${run} lasting'`);
	await page.getByLabel('Token', { exact: true }).fill(selector);
	await button(page, 'Search').click();
	await poll('the events of one token', 10000, async () => (await page.locator('tbody tr').count()) === 3);
	const text = await page.locator('tbody').innerText();
	assert.match(text, /Changed[\s\S]*expiresAt: [\s\S]*→ none[\s\S]*Created/);
	await page.getByLabel('Event', { exact: true }).selectOption('api-token-created');
	await poll('the events of one kind', 10000, async () => (await page.locator('tbody tr').count()) === 1);
});

await task('what doctor() finds is shown', async () => {
	await button(page, 'Health').click();
	await page.locator('.summary').waitFor();
	await assertAccessible(page, 'health');
	assert.match(await page.locator('.summary').innerText(), /checks/);
});

// ---- Many tokens, narrow and dark -----------------------------------------------------------------------------------

await task('among 100,000 tokens pages are turned and sorted, and a long search says how far it is', async () => {
	await sql(`SELECT count(*) FROM jsonb_array_elements(unleash_tokens.create_api_tokens((SELECT jsonb_agg(jsonb_build_object('type', 'client', 'tokenName', '${run} many ' || i)) FROM generate_series(1, 100000) AS i)))`);
	await button(page, 'Tokens').click();
	await settled(page);
	const first = await names(page);
	assert.equal(first.length, 50);
	await button(page, 'Next page').click();
	await told(page, 'Tokens 51 to 100').waitFor();
	await settled(page);
	assert.ok((await names(page)).every((name) => !first.includes(name)));
	await button(page, 'Previous page').click();
	await told(page, 'Tokens 1 to 50').waitFor();
	assert.deepEqual(await names(page), first);
	await search(page, `${run} many 99999`);
	assert.deepEqual(await names(page), [`${run} many 99999`]);
	await search(page, `${run} many`);
	await button(page, 'Expires').click();
	await told(page, 'None of these tokens expires').waitFor();
	await button(page, 'Back to the usual order').click();
	await settled(page);
	await button(page, 'Created').click();
	await settled(page);
	await button(page, 'Name').click();
	await settled(page);
	assert.equal(await page.locator('th[aria-sort="ascending"]').innerText(), 'Name');
	assert.equal((await names(page))[0], `${run} many 1`);
	// the oldest of all, for which no index has both
	await page.getByLabel('Environment').selectOption('production');
	await page.getByLabel('State').selectOption('valid');
	const begun = Date.now();
	await search(page, `${run} many`);
	await told(page, 'No token matches').waitFor();
	assert.ok(Date.now() - begun < 20000);
	await button(page, 'Clear').click();
	await settled(page);
});

await task('on a narrow screen and in the dark all is there and readable', async () => {
	for (const [colorScheme, width] of [['light', 360], ['dark', 800], ['dark', 1320]]) {
		const other = await person({ viewport: { width, height: 800 }, colorScheme });
		await signIn(other);
		const fits = async (what) => {
			assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth), `${what} at ${width}`);
			await assertAccessible(other, `${what}, ${colorScheme}, ${width}`);
		};
		await button(other, 'New token').click();
		await fits('a new token');
		await button(other, 'Close').click();
		await search(other, `${run} hostile direction`);
		await fits('a hostile name');
		await named(other, 'button', /hostile/).click();
		await fits('a token');
		await button(other, 'Close').click();
		await button(other, 'Events').click();
		await other.locator('tbody tr').first().waitFor();
		await fits('events');
		await other.context().close();
	}
});

await test('no page complained, and none broke the policy', () => assert.deepEqual(complaints, []));

await test('the policy does stop what it is there for', async () => {
	const before = complaints.length;
	await page.evaluate(() => { const script = document.createElement('script'); try { script.text = 'globalThis.broken = true'; } catch {} document.body.append(script); });
	await page.evaluate(() => new Promise((resolve) => { const image = new Image(); image.onerror = image.onload = resolve; image.src = 'http://127.0.0.1:1/leak'; }));
	assert.equal(await page.evaluate(() => globalThis.broken), undefined);
	await poll('violations are told', 5000, () => complaints.slice(before).some((text) => text.includes('img-src')));
});

if (shots) await takePictures();
await sql(`DELETE FROM unleash_tokens.api_token WHERE token_name LIKE '${run}%'; DELETE FROM unleash_tokens.project WHERE id LIKE '${run}%'`);
await browser.close();
finish();
