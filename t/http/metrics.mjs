#!/usr/bin/env node
// GET /metrics: who may, and how it is answered; t/metrics looks at what it says.

import { readFileSync } from 'node:fs';
import { assert, assertRefusal, assertStatus, create, env, finish, keyed, logFile, minimal, poll, run, send, test, useEnv } from './lib.mjs';

useEnv();
const make = async (more) => (await create(minimal({ tokenName: `${run} metrics`, ...more }))).json.secret;
const scrape = (headers) => send('GET', '/metrics', headers);
const TYPE = 'text/plain; version=0.0.4; charset=utf-8';

await test('an admin token reads the metrics, with "Bearer" before it or not', async () => {
	for (const key of [env.ADMIN_TOKEN, `Bearer ${env.ADMIN_TOKEN}`]) {
		const answer = await scrape({ Authorization: key });
		assertStatus(answer, 200);
		assert.deepEqual([answer.header('Content-Type'), answer.header('Cache-Control')], [TYPE, 'no-store']);
		assert.match(answer.text, /^unleash_tokens_preloaded 1$/m);
	}
});

await test('nobody else does', async () => {
	const key = async (more) => ({ Authorization: await make(more) });
	assertRefusal(await scrape({}), 401, 'AuthenticationRequired');
	assertRefusal(await scrape({ Authorization: 'x' }), 401, 'UnauthorizedError');
	for (const type of ['client', 'backend', 'frontend']) assertRefusal(await scrape(await key({ type })), 403, 'PermissionError');
	assertRefusal(await scrape(await key({ type: 'admin', projects: ['default'] })), 403, 'PermissionError', { says: /manages 1 projects/ });
	assertStatus(await scrape(await key({ type: 'admin' })), 200);
});

await test('HEAD and OPTIONS as everywhere, and no other method', async () => {
	const head = await send('HEAD', '/metrics', keyed());
	assertStatus(head, 200);
	assert.deepEqual([head.header('Content-Type'), head.text], [TYPE, '']);
	assert.equal((await send('OPTIONS', '/metrics', keyed())).header('Allow'), 'GET, HEAD, OPTIONS');
	for (const method of ['POST', 'PUT', 'DELETE']) assertRefusal(await send(method, '/metrics', keyed()), 405, 'MethodNotAllowedError');
	assertRefusal(await send('GET', '/metrics/x', keyed()), 404, 'NotFoundError');
});

await test('the log has the path, and no query', async () => {
	assertStatus(await send('GET', `/metrics?token=${run}`, keyed()), 200);
	await poll('the line', 5000, () => /"GET \/metrics" 200 /.test(readFileSync(logFile('nginx.access'), 'utf8')));
	assert.ok(!readFileSync(logFile('nginx.access'), 'utf8').includes(`token=${run}`));
});

finish();
