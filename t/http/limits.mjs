#!/usr/bin/env node
// How often a token may be used, and from where: what is asked for, what is answered, and what the headers say of it.

import { TOKENS, assert, assertRefusal, assertStatus, create, env, finish, jsonKeyed, keyed, minimal, poll, run, send, setSystem, sql, test, useEnv, validate } from './lib.mjs';

useEnv();
const HOUR = { limit: 3, period: 3600 };
const make = async (more) => {
	const answer = await create(minimal({ tokenName: `${run} limits`, ...more }));
	assertStatus(answer, 201);
	return answer.json;
};
const auth = (secret, headers = {}, at = env.BASE_URL) => send('GET', '/auth', { Authorization: secret, ...headers }, undefined, at);
// as the client of another address
const from = (localAddress) => ({ host: new URL(env.BASE_URL).hostname, port: new URL(env.BASE_URL).port, localAddress });
const limits = (answer) => ['RateLimit-Policy', 'RateLimit', 'Retry-After'].map((name) => answer.headers(name).join(' & '));

// ---- What may be asked for ------------------------------------------------------------------------------------------

await test('a token shows its limits where it has some, and only there', async () => {
	const plain = await make({}), bound = await make({ rateLimit: HOUR, allowedIps: ['10.0.0.0/8', '::ffff:192.0.2.7'] });
	assert.ok(!('rateLimit' in plain) && !('allowedIps' in plain));
	assert.deepEqual(bound.rateLimit, { ...HOUR, burst: 3 });
	assert.deepEqual(bound.allowedIps, ['10.0.0.0/8', '192.0.2.7']);
	const { tokens } = (await send('GET', `${TOKENS}/${encodeURIComponent(`${run} limits`)}`, keyed())).json;
	const [listed, other] = [bound, plain].map((token) => tokens.find((one) => token.secret.includes(one.secret)));
	assert.deepEqual([listed.rateLimit, listed.allowedIps], [bound.rateLimit, bound.allowedIps]);
	assert.ok(!('rateLimit' in other) && !('allowedIps' in other));
	assert.deepEqual(Object.keys(other), Object.keys(plain));
});

await test('a bad limit is refused, by its path', async () => {
	for (const [more, path] of [
		[{ rateLimit: { limit: 0, period: 1 } }, '/body/rateLimit/limit'], [{ rateLimit: 5 }, '/body/rateLimit'], [{ allowedIps: [] }, '/body/allowedIps'],
		[{ allowedIps: ['10.0.0.1', '10.0.0.1/8'] }, '/body/allowedIps/1']])
		assertRefusal(await create(minimal(more)), 400, 'BadDataError', { path });
});

await test('PUT changes what it names, and null takes it away', async () => {
	const { secret } = await make({ rateLimit: HOUR }), put = async (body) => assertStatus(await send('PUT', `${TOKENS}/${encodeURIComponent(secret)}`, jsonKeyed(), JSON.stringify(body)), 200);
	const shown = async () => (({ rateLimit, allowedIps, expiresAt }) => ({ rateLimit, allowedIps, expiresAt }))(
		(await send('GET', `${TOKENS}/${secret.match(/v2_(.{22})/)[1]}`, keyed())).json.tokens[0]);
	await put({ allowedIps: ['127.0.0.0/8'] });
	assert.deepEqual(await shown(), { rateLimit: { ...HOUR, burst: 3 }, allowedIps: ['127.0.0.0/8'], expiresAt: null });
	await put({ rateLimit: null, expiresAt: '2031-05-06T07:08:09Z' });
	assert.deepEqual(await shown(), { rateLimit: undefined, allowedIps: ['127.0.0.0/8'], expiresAt: '2031-05-06T07:08:09.000Z' });
	await put({ allowedIps: null });
	assert.deepEqual(await shown(), { rateLimit: undefined, allowedIps: undefined, expiresAt: '2031-05-06T07:08:09.000Z' });
	assertRefusal(await send('PUT', `${TOKENS}/${encodeURIComponent(secret)}`, jsonKeyed(), '{"rateLimit": {"limit": 1}}'), 400, 'BadDataError', { path: '/body/rateLimit' });
});

// ---- How often ------------------------------------------------------------------------------------------------------

await test('/auth: what passes and what is refused says how often', async () => {
	const { secret } = await make({ rateLimit: HOUR });
	for (const left of [2, 1, 0]) {
		const answer = await auth(secret);
		assertStatus(answer, 204);
		assert.deepEqual([answer.headers('RateLimit-Policy'), answer.headers('Retry-After')], [['"token";q=3;w=3600'], []]);
		assert.match(limits(answer)[1], new RegExp(`^"token";r=${left};t=(1200|11\\d\\d)$`));
	}
	const refused = await auth(secret);
	assertRefusal(refused, 429, 'RateLimitError', { says: /At most 3 uses pass at once and 3 in 3600 seconds; one more passes in 1\d{3} seconds\. Come again/ });
	assert.match(limits(refused).join(' | '), /^"token";q=3;w=3600 \| "token";r=0;t=(\d+) \| \1$/);
	// what is asked for in the query does not matter: it is told only after the limit
	assertRefusal(await send('GET', '/auth?type=admin', { Authorization: secret }), 429, 'RateLimitError');
	assertRefusal(await send('HEAD', '/auth', { Authorization: secret }).then((answer) => (answer.bytes = refused.bytes, answer)), 429, 'RateLimitError');
});

await test('a burst that is not the limit is said as a parameter of our own', async () => {
	const { secret } = await make({ rateLimit: { limit: 10, period: 1000, burst: 2 } });
	assert.deepEqual(limits(await auth(secret)).slice(0, 2), ['"token";q=10;w=1000;unleash-burst=2', '"token";r=1;t=100']);
});

await test('a use that is refused for another reason counts, one with a wrong key does not', async () => {
	const { secret } = await make({ rateLimit: HOUR });
	for (const left of [2, 1]) {
		const answer = await send('GET', TOKENS, { Authorization: secret });
		assertRefusal(answer, 403, 'PermissionError');
		assert.match(limits(answer).join(' | '), new RegExp(`^"token";q=3;w=3600 \\| "token";r=${left};t=\\d+ \\| $`));
	}
	for (let i = 0; i < 5; i++) {
		const answer = await auth(secret.slice(0, -1) + (secret.endsWith('a') ? 'b' : 'a'));
		assertRefusal(answer, 401, 'UnauthorizedError');
		assert.deepEqual(limits(answer), ['', '', '']);
	}
	assertStatus(await auth(secret), 204);
	assertRefusal(await send('GET', TOKENS, { Authorization: secret }), 429, 'RateLimitError');
});

await test('the admin endpoints: what is refused is not done, and what fails counts', async () => {
	const { secret } = await make({ type: 'admin', rateLimit: { limit: 4, period: 3600 } });
	const asked = (method, target, body) => send(method, target, { Authorization: `Bearer ${secret}`, 'Content-Type': 'application/json' }, body);
	assertStatus(await asked('GET', TOKENS), 200);
	const made = await asked('POST', TOKENS, JSON.stringify(minimal()));
	assertStatus(made, 201);
	assert.match(limits(made)[1], /^"token";r=2;t=\d+$/);
	assertRefusal(await asked('POST', TOKENS, '{"'), 400, 'BadDataError');
	assertStatus(await asked('PUT', `${TOKENS}/none`, '{"expiresAt": null}'), 200);
	const before = await sql('SELECT count(*) FROM unleash_tokens.api_token');
	for (const [method, target, body] of [['GET', TOKENS], ['POST', TOKENS, JSON.stringify(minimal())], ['PUT', `${TOKENS}/${made.json.secret}`, '{"expiresAt": null}'], ['DELETE', `${TOKENS}/${made.json.secret}`], ['GET', '/api/admin/none'], ['PATCH', TOKENS]])
		assertRefusal(await asked(method, target, body), 429, 'RateLimitError');
	assert.equal(await sql('SELECT count(*) FROM unleash_tokens.api_token'), before);
});

await test('what a service asks is not counted: /edge/validate, validate_api_token()', async () => {
	const { secret } = await make({ rateLimit: { limit: 1, period: 3600 } });
	for (let i = 0; i < 5; i++) {
		const answer = await send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [secret] }));
		assert.equal(answer.json.tokens.length, 1);
		assert.deepEqual(limits(answer), ['', '', '']);
		assert.equal((await validate(secret)).tokenName, `${run} limits`);
	}
	assertStatus(await auth(secret), 204);
	assertRefusal(await auth(secret), 429, 'RateLimitError');
	assert.equal((await send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [secret] }))).json.tokens.length, 1);
});

await test('it passes again when Retry-After is over', async () => {
	const { secret } = await make({ rateLimit: { limit: 1, period: 2 } });
	assertStatus(await auth(secret), 204);
	const refused = await auth(secret), seconds = Number(refused.header('Retry-After'));
	assertRefusal(refused, 429, 'RateLimitError');
	assert.ok(seconds === 1 || seconds === 2, refused.head);
	await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
	assertStatus(await auth(secret), 204);
});

await test('a type has a limit by its setting, which the policy names', async () => {
	const { secret } = await make({ type: 'frontend' }), reset = await setSystem('unleash_tokens.rate_limit_frontend', '2/1h');
	try {
		await poll('all connections know it', 10000, async () => limits(await auth((await make({ type: 'frontend' })).secret))[0] === '"frontend";q=2;w=3600');
		const answers = [];
		for (let i = 0; i < 30; i++) answers.push((await auth(secret)).status);
		assert.ok(answers.filter((status) => status === 429).length >= 20, answers.join());
		assert.equal(answers.at(-1), 429);
	} finally {
		await reset();
	}
});

await test('many at once: no more than the burst', async () => {
	const { secret } = await make({ rateLimit: { limit: 1, period: 3600, burst: 20 } });
	const answers = await Promise.all(Array.from({ length: 60 }, () => auth(secret)));
	assert.deepEqual([204, 429].map((status) => answers.filter((answer) => answer.status === status).length), [20, 40]);
});

// ---- From where -----------------------------------------------------------------------------------------------------

await test('a token is that of its addresses only; elsewhere it is as if it did not exist', async () => {
	const { secret } = await make({ allowedIps: ['127.0.0.2', '127.5.0.0/16'] });
	for (const address of ['127.0.0.2', '127.5.0.1', '127.5.255.255']) assertStatus(await auth(secret, {}, from(address)), 204);
	const unknown = await auth('*:development.v2_aaaaaaaaaaaaaaaaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb');
	for (const address of ['127.0.0.1', '127.0.0.3', '127.4.255.255', '127.6.0.0']) {
		const answer = await auth(secret, {}, from(address));
		assertRefusal(answer, 401, 'UnauthorizedError');
		assert.equal(answer.text.replace(/"id":"[^"]*"/, ''), unknown.text.replace(/"id":"[^"]*"/, ''));
	}
	const { secret: admin } = await make({ type: 'admin', allowedIps: ['127.0.0.2'] });
	assertStatus(await send('GET', TOKENS, { Authorization: admin }, undefined, from('127.0.0.2')), 200);
	assertRefusal(await send('GET', TOKENS, { Authorization: admin }, undefined, from('127.0.0.1')), 401, 'UnauthorizedError');
});

await test('no header of the client says where it is', async () => {
	const { secret } = await make({ allowedIps: ['127.0.0.2', '192.0.2.1'] });
	for (const name of ['X-Original-Address', 'x-original-address', 'X_Original_Address', 'X-Forwarded-For', 'X-Real-IP', 'Forwarded', 'True-Client-IP', 'CF-Connecting-IP', 'X-Client-Address', 'Client-IP'])
		for (const value of ['127.0.0.2', '192.0.2.1', 'for=127.0.0.2', '127.0.0.2, 127.0.0.2', '']) {
			assertRefusal(await auth(secret, { [name]: value }, from('127.0.0.1')), 401, 'UnauthorizedError');
			assertStatus(await auth(secret, { [name]: value === '127.0.0.2' ? '127.0.0.9' : value }, from('127.0.0.2')), 204);
		}
	assertRefusal(await send('GET', '/auth', [['Authorization', secret], ['X-Original-Address', '127.0.0.2'], ['X-Original-Address', '127.0.0.2']], undefined, from('127.0.0.1')), 401, 'UnauthorizedError');
});

await test('who does not know where somebody is takes such a token for none', async () => {
	const { secret } = await make({ allowedIps: ['0.0.0.0/0', '::/0'] });
	assertStatus(await auth(secret), 204);
	assert.equal(await validate(secret), null);
	assert.deepEqual((await send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [secret] }))).json, { tokens: [] });
});

await test('a use from elsewhere is none: it is not noted and counts for no limit; the log and stat know of it', async () => {
	const { secret } = await make({ allowedIps: ['127.0.0.2'], rateLimit: { limit: 1, period: 3600 } }), selector = secret.match(/v2_(.{22})/)[1];
	const before = Number(await sql('SELECT refused_elsewhere FROM unleash_tokens.stat'));
	for (let i = 0; i < 3; i++) assertRefusal(await auth(secret, {}, from('127.0.0.1')), 401, 'UnauthorizedError');
	assert.equal(Number(await sql('SELECT refused_elsewhere FROM unleash_tokens.stat')), before + 3);
	assert.equal(await sql(`SELECT seen_at FROM unleash_tokens.api_tokens WHERE selector = :'selector'`, { selector }), '');
	assertStatus(await auth(secret, {}, from('127.0.0.2')), 204);
	assertRefusal(await auth(secret, {}, from('127.0.0.2')), 429, 'RateLimitError');
	assertRefusal(await auth(secret, {}, from('127.0.0.1')), 401, 'UnauthorizedError');
});

finish();
