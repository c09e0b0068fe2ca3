#!/usr/bin/env node
// Rotation over HTTP: a new secret beside the old one, for admin tokens and for tokens that may rotate themselves.

import {
	SECRET, TOKENS, assert, assertCreated, assertRefusal, assertStatus, create, env, finish, minimal, poll, run, send, sql, test, useEnv,
} from './lib.mjs';

useEnv();
const JSON_TYPE = { 'Content-Type': 'application/json' };
const admin = { Authorization: env.ADMIN_TOKEN };
const answered = (answer, status) => {
	assertStatus(answer, status);
	return answer;
};
const made = async (name, more) => assertCreated(await create(minimal({ tokenName: `${run} ${name}`, ...more })));
const bearer = (secret) => ({ Authorization: `Bearer ${secret}` });
const rotate = (token, headers = admin, body, rest = '') =>
	send('POST', `${TOKENS}/${encodeURIComponent(token)}/rotate${rest}`, { ...headers, ...(body ? JSON_TYPE : {}) }, body && JSON.stringify(body));
const passes = async (secret) => (await send('GET', '/auth', bearer(secret))).status;
const state = async (selector) => (await send('GET', `${TOKENS}/${selector}`, admin)).json.tokens[0].rotation;
const graced = (selector) => poll('the first use is written', 20000, async () => (await state(selector))?.state === 'grace');

await test('an admin token rotates another one: both secrets pass, until the new one was used and the grace has ended', async () => {
	const token = await made('a');
	const answer = answered(await rotate(token.selector), 200);
	assert.equal(answer.header('Cache-Control'), 'no-store');
	const { secret } = answer.json;
	assert.notEqual(secret, token.secret);
	assert.match(secret, new RegExp(`\\.v2_${token.selector}_[0-9A-Za-z]{43}$`));
	assert.equal(answer.json.rotation.state, 'pending');
	assert.ok(Date.parse(answer.json.rotation.activateBy) > Date.now() + 6 * 86400e3);
	assert.equal((await state(token.selector)).state, 'pending');
	assertRefusal(await rotate(token.selector, admin, undefined, '/finish'), 409, 'ConflictError');
	assert.equal(await passes(token.secret), 204);
	assert.equal(await passes(secret), 204);
	await graced(token.selector);
	assertRefusal(await rotate(token.selector), 409, 'ConflictError');
	assertRefusal(await rotate(token.selector, admin, undefined, '/cancel'), 409, 'ConflictError');
	assert.equal(await passes(token.secret), 204);
	const finished = answered(await rotate(secret, admin, undefined, '/finish'), 200);
	assert.equal(finished.json.secret, token.selector);
	assert.equal(finished.json.rotation, undefined);
	assert.equal(await passes(token.secret), 401);
	assert.equal(await passes(secret), 204);
	assertRefusal(await rotate(token.selector, admin, undefined, '/finish'), 409, 'ConflictError');
});

await test('cancelled: the old one stays', async () => {
	const token = await made('b');
	const { secret } = answered(await rotate(token.secret), 200).json;
	answered(await rotate(token.selector, admin, undefined, '/cancel'), 200);
	assert.equal(await passes(secret), 401);
	assert.equal(await passes(token.secret), 204);
	assertRefusal(await rotate(token.selector, admin, undefined, '/cancel'), 409, 'ConflictError');
});

await test('what is refused is answered alike: unknown, wrong, cancelled and expired secrets', async () => {
	const token = await made('c');
	const { secret } = answered(await rotate(token.selector), 200).json;
	answered(await rotate(token.selector, admin, undefined, '/cancel'), 200);
	const expired = await made('d', { expiresAt: '2001-01-01T00:00:00Z' });
	const bodies = new Set();
	for (const one of [secret, expired.secret, 'nothing', token.secret.replace(/.$/, (last) => (last === '0' ? '1' : '0'))]) {
		const answer = await send('GET', '/auth', bearer(one));
		assertRefusal(answer, 401, 'UnauthorizedError', { challenged: true });
		const { id, ...rest } = answer.json;
		bodies.add(JSON.stringify([rest, answer.header('WWW-Authenticate')]));
	}
	assert.equal(bodies.size, 1);
});

await test('what is asked for: lengths of time', async () => {
	const token = await made('e');
	const activateBy = new Date(Date.now() + 3600e3).toISOString();
	assert.equal(answered(await rotate(token.selector, admin, { graceSeconds: 0, activateBy }), 200).json.rotation.activateBy, activateBy);
	for (const [body, path] of [
		[{ graceSeconds: -1 }, '/body/graceSeconds'], [{ graceSeconds: 1.5 }, '/body/graceSeconds'], [{ graceSeconds: '1' }, '/body/graceSeconds'],
		[{ graceSeconds: 1e11 }, '/body/graceSeconds'], [{ graceSeconds: null }, '/body/graceSeconds'], [{ activateBy: 'soon' }, '/body/activateBy'],
		[{ activateBy: '2001-01-01T00:00:00Z' }, '/body/activateBy'], [{ activateBy: 7 }, '/body/activateBy'], [{ activateBy: '9999-01-01T00:00:00Z' }, '/body/activateBy'],
	]) {
		const answer = await rotate(token.selector, admin, body);
		assertRefusal(answer, 400, 'BadDataError');
		assert.equal(answer.json.details[0].path, path, JSON.stringify(body));
	}
	assertRefusal(await send('POST', `${TOKENS}/${token.selector}/rotate`, { ...admin, 'Content-Type': 'text/plain' }, '{}'), 415, 'ContentTypeError');
	assertRefusal(await send('POST', `${TOKENS}/${token.selector}/rotate`, { ...admin, ...JSON_TYPE }, '[]'), 400, 'BadDataError');
	const expired = await made('f', { expiresAt: '2001-01-01T00:00:00Z' });
	assertRefusal(await rotate(expired.selector), 409, 'ConflictError');
});

await test('paths and methods', async () => {
	const token = await made('g');
	assertRefusal(await rotate('nobody'), 404, 'NotFoundError');
	for (const rest of ['/finish', '/cancel']) assertRefusal(await rotate('nobody', admin, undefined, rest), 404, 'NotFoundError');
	for (const rest of ['', '/finish', '/cancel']) assert.equal((await send('GET', `${TOKENS}/${token.selector}/rotate${rest}`, admin)).header('Allow'), 'POST, OPTIONS');
	for (const path of [`${TOKENS}//rotate`, `${TOKENS}/${token.selector}/rotate/`, `${TOKENS}/${token.selector}/rotated`, `${TOKENS}/${token.selector}/rotate/x`, `${TOKENS}/${token.selector}/x/rotate`]) {
		const { status } = await send('POST', path, admin);
		assert.equal(status, path.endsWith('rotate/') ? 200 : 404, path);
	}
	assertRefusal(await rotate(token.selector, {}), 401, 'AuthenticationRequired', { challenged: true });
});

await test('a token rotates itself when it was made so, and nothing else', async () => {
	const plain = await made('h');
	const mine = answered(await create(minimal({ tokenName: `${run} i`, rotatable: true })), 201).json;
	mine.selector = mine.secret.match(SECRET)[3];
	assert.equal(mine.rotatable, true);
	assert.equal((await send('GET', `${TOKENS}/${mine.selector}`, admin)).json.tokens[0].rotatable, true);
	assert.equal((await send('GET', `${TOKENS}/${plain.selector}`, admin)).json.tokens[0].rotatable, undefined);
	for (const [key, token] of [[plain.secret, plain.selector], [plain.secret, mine.selector], [mine.secret, plain.selector], [mine.secret, 'nobody'], [mine.secret, plain.secret]])
		for (const rest of ['', '/finish', '/cancel']) assertRefusal(await rotate(token, bearer(key), undefined, rest), 403, 'PermissionError');
	assertRefusal(await send('DELETE', `${TOKENS}/${mine.selector}`, bearer(mine.secret)), 403, 'PermissionError');
	const { secret } = answered(await rotate(mine.selector, bearer(mine.secret)), 200).json;
	answered(await rotate(mine.secret, bearer(mine.secret), undefined, '/cancel'), 200);
	const next = answered(await rotate(mine.secret, bearer(mine.secret), { graceSeconds: 60 }), 200).json.secret;
	assert.equal(await passes(secret), 401);
	assert.equal(await passes(next), 204);
	await graced(mine.selector);
	answered(await rotate(mine.selector, bearer(next), undefined, '/finish'), 200);
	assert.equal(await passes(mine.secret), 401);
	assertRefusal(await create(minimal({ rotatable: 'yes' })), 400, 'BadDataError');
	const rows = await sql(`SELECT string_agg(type || ' ' || (actor_selector = selector), ',' ORDER BY id) FROM unleash_tokens.api_token_events WHERE selector = :'selector' AND type <> 'api-token-created'`, { selector: mine.selector });
	assert.equal(String(rows).trim(), ['rotated', 'rotation-cancelled', 'rotated', 'rotation-activated', 'rotation-finished'].map((type) => `api-token-${type} true`).join(','));
});

await test('what Unleash Edge asks knows both secrets, and a first use by it is one', async () => {
	const token = await made('j');
	const { secret } = answered(await rotate(token.selector), 200).json;
	const answer = await send('POST', '/edge/validate', JSON_TYPE, JSON.stringify({ tokens: [token.secret, secret] }));
	assert.deepEqual(answer.json.tokens.map((one) => one.token), [token.secret, secret]);
	await graced(token.selector);
});

finish();
